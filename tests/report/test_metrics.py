import math

import pytest

from megatron_fugaku.errors import DataError
from megatron_fugaku.report.metrics import TIME_CATEGORIES, load_metrics


def train(iteration, loss, **changes):
    return {"event": "train", "iteration": iteration, "consumed_tokens": 100 * iteration, "lm_loss": loss,
            "grad_norm": 1.0, "learning_rate": 1e-3, "step_s": 0.5, "tokens_per_s": 200.0, "flops_per_s": 1e9,
            "skipped": False, "time_s": {"compute": 0.4, "tp": 0.1}, **changes}


def start(iteration, resumed_from=None):
    return {"event": "start", "iteration": iteration, "time": 1.0, "world_size": 4, "resumed_from": resumed_from}


@pytest.fixture
def write(tmp_path, append_lines):
    def run(*lines):
        append_lines(tmp_path / "metrics.jsonl", *lines)
        return tmp_path
    return run


def test_events_become_records(write):
    metrics = load_metrics(write(
        start(0), train(1, 9.0), train(2, 8.0), {"event": "validation", "iteration": 2, "lm_loss": 8.5,
                                                 "perplexity": 4914.8},
        {"event": "checkpoint", "iteration": 2, "path": "c/2", "save_s": 1.5},
        {"event": "end", "iteration": 2, "reason": "finished"}))
    assert [step.lm_loss for step in metrics.train] == [9.0, 8.0]
    assert metrics.validations[0].perplexity == 4914.8
    assert metrics.checkpoints[0].path == "c/2"
    assert metrics.end.reason == "finished" and metrics.world_size == 4 and metrics.consumed_tokens == 200
    assert metrics.notes == () and metrics.resumes == ()
    assert metrics.median("step_s") == 0.5
    assert list(metrics.mean_time_s()) == list(TIME_CATEGORIES)
    assert metrics.mean_time_s()["compute"] == pytest.approx(0.4)


def test_of_a_step_done_twice_the_later_counts_and_abandoned_steps_go(write):
    metrics = load_metrics(write(
        start(0), train(1, 9.0), train(2, 8.0), train(3, 7.0), train(4, 6.0),
        start(2, "c/2"), train(3, 7.5)))
    assert [(step.iteration, step.lm_loss) for step in metrics.train] == [(1, 9.0), (2, 8.0), (3, 7.5)]
    assert metrics.abandoned_steps == 2
    assert [item.iteration for item in metrics.resumes] == [2]
    assert metrics.end is None


def test_repeated_steps_are_compared(write):
    lines = [start(0), train(1, 9.0), train(2, 8.0), train(3, 7.0), train(4, 6.0), start(2, "c/2"), train(3, 7.0)]
    metrics = load_metrics(write(*lines))
    assert [(step.iteration, step.is_equal) for step in metrics.repeated] == [(3, True)]
    assert "of the steps 3, trained" in metrics.explain_repeats()
    assert "bit for bit" in metrics.explain_repeats()
    metrics = load_metrics(write(train(4, 6.25)))
    assert [step.is_equal for step in metrics.repeated] == [True, False]
    assert "1 of the 2 steps trained twice (3 to 4) differ, in the loss by at most 0.25" in metrics.explain_repeats()


def test_a_run_without_interruption_says_nothing_of_it(write):
    assert load_metrics(write(start(0), train(1, 9.0))).explain_repeats() == ""


def test_an_end_before_a_resume_is_not_the_end(write):
    metrics = load_metrics(write(start(0), train(1, 9.0), {"event": "end", "iteration": 1, "reason": "interrupted"},
                                 start(1, "c/1")))
    assert metrics.end is None


def test_losses_that_are_not_finite_are_kept_as_nan(write):
    metrics = load_metrics(write(start(0), train(1, None, skipped=True, grad_norm=math.nan), train(2, 8.0)))
    assert math.isnan(metrics.train[0].lm_loss) and metrics.train[0].skipped
    assert metrics.median("lm_loss") == 8.0


def test_unknown_events_are_noted(write):
    metrics = load_metrics(write(start(0), train(1, 9.0), {"event": "weather"}, {"event": "weather"}))
    assert metrics.notes == ("2 records of unknown kind 'weather' were left out.",)


def test_half_a_last_line_is_noted(write):
    folder = write(start(0), train(1, 9.0))
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"event":"train","iter')
    metrics = load_metrics(folder)
    assert len(metrics.train) == 1 and "Line 3" in metrics.notes[0]


def test_errors_name_what_is_missing(tmp_path, write):
    with pytest.raises(DataError, match="is not a folder"):
        load_metrics(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no metrics\.jsonl"):
        load_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(DataError, match="records no step"):
        load_metrics(tmp_path)
    broken = train(1, 9.0)
    del broken["step_s"]
    with pytest.raises(DataError, match="line 2: event 'train' cannot be read: 'step_s' is missing"):
        load_metrics(write(start(0), broken))
