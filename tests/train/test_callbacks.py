"""What a run writes for people and tools."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.train.callbacks import Callback, Console, MetricsFile, StepReport, TensorBoard
from megatron_fugaku.train.callbacks.console import format_duration

REPORT = StepReport(iteration=1, consumed_tokens=81_920, lm_loss=6.25, grad_norm=1.5, learning_rate=1e-4, step_s=2.0,
                    tokens_per_s=40_960.0, flops_per_s=1e12, skipped=False, time_s={"compute": 1.5, "tp": 0.5})


@pytest.mark.parametrize(("seconds", "text"), [
    (0.4, "0 s"), (12, "12 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3599.6, "1 h 00 min"),
    (3720, "1 h 02 min"), (360_000, "100 h 00 min"),
])
def test_durations_are_short(seconds, text):
    assert format_duration(seconds) == text


def test_every_callback_answers_every_moment(tmp_path, capsys):
    callbacks = [Callback(), Console(3, 1), MetricsFile(tmp_path), TensorBoard(tmp_path, 0)]
    for callback in callbacks:
        callback.on_start(0, 4, None)
        callback.on_step(REPORT)
        callback.on_validation(1, 6.0, math.exp(6.0))
        callback.on_checkpoint(1, Path("here"), 0.5)
        callback.on_end(1, "finished")


def test_console_lines(capsys):
    console = Console(num_steps=1000, log_interval=10)
    console.on_start(9, 4, Path("runs/x/iter_0000009"))
    for iteration in range(10, 22):
        console.on_step(replace(REPORT, iteration=iteration))
    console.on_step(replace(REPORT, iteration=22, skipped=True, grad_norm=math.inf))
    console.on_step(replace(REPORT, iteration=1000))
    console.on_validation(1000, 2.0, 7.389)
    console.on_checkpoint(1000, Path("runs/x/iter_0001000"), 1.25)
    console.on_end(1000, "exit_interval")
    start, *steps, validation, checkpoint, end = capsys.readouterr().out.splitlines()
    assert start == "training on 4 ranks, step 10 to 1000, resumed from runs/x/iter_0000009"
    assert [line.split(" |")[0] for line in steps] == ["step   10/1000", "step   20/1000", "step   22/1000",
                                                       "step 1000/1000"]
    assert steps[0] == ("step   10/1000 | tokens 81,920 | loss 6.2500 | grad norm 1.500 | lr 1.00e-04 | 2.00 s | "
                        "40,960 tokens/s | 33 min 00 s left")
    assert steps[2].endswith("| update skipped: gradient not finite")
    assert "grad norm inf" in steps[2]
    assert steps[3].endswith("| 0 s left")
    assert validation == "validation after step 1000 | loss 2.0000 | perplexity 7.4"
    assert checkpoint == "checkpoint of step 1000 in runs/x/iter_0001000 (1.2 s)"
    assert end == "training ends after step 1000: exit interval"


def read_metrics(folder: Path) -> list:
    def parse(line):
        try:
            return json.loads(line)
        except ValueError:
            return line

    return [parse(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_are_whole_lines_at_once(tmp_path):
    folder = tmp_path / "new" / "run"
    metrics = MetricsFile(folder)
    metrics.on_start(0, 4, None)
    metrics.on_step(REPORT)
    start, step = read_metrics(folder)  # readable while the run goes on
    assert (start["event"], start["world_size"], start["resumed_from"]) == ("start", 4, None)
    assert step == {"event": "train", **asdict(REPORT)}
    metrics.on_validation(1, 6.0, 403.4)
    metrics.on_checkpoint(1, Path("x"), 0.5)
    metrics.on_end(1, "finished")
    assert [entry["event"] for entry in read_metrics(folder)] == ["start", "train", "validation", "checkpoint", "end"]


@pytest.mark.parametrize(("before", "kept"), [
    ("", []), ('{"event": "train"}\n', [{"event": "train"}]),
    ('{"event": "train"}\n{"event": "tr', [{"event": "train"}, '{"event": "tr']),
])
def test_metrics_go_on_after_a_line_that_a_crash_cut(tmp_path, before, kept):
    (tmp_path / "metrics.jsonl").write_text(before)
    metrics = MetricsFile(tmp_path)
    metrics.on_step(REPORT)
    metrics.on_end(1, "finished")
    *old, step, end = read_metrics(tmp_path)
    assert old == kept
    assert (step["event"], end["event"]) == ("train", "end")


def test_tensorboard_events_can_be_read(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first in (0, 2):  # the second run resumed from step 2 and goes over step 3 again
        board = TensorBoard(tmp_path, first)
        for iteration in range(first + 1, first + 4):
            board.on_step(replace(REPORT, iteration=iteration, lm_loss=float(10 * first + iteration)))
        board.on_validation(first + 3, 5.0, math.exp(5.0))
        board.on_end(first + 3, "finished")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"train/lm_loss", "train/grad_norm", "train/learning_rate", "speed/tokens_per_s", "time_s/compute",
            "validation/lm_loss"} <= set(events.Tags()["scalars"])
    assert [(event.step, event.value) for event in events.Scalars("train/lm_loss")] == [
        (1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0), (5, 25.0)]


def test_without_tensorboard_one_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(EnvironmentError, match=r"pip install tensorboard.*\[logging\.tensorboard\]"):
        TensorBoard(tmp_path, 0)
