"""``mfugaku bench step``: its table, what it says of a contender that fails, and one real run of a small model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from stretch import stretched

from megatron_fugaku.bench import step
from megatron_fugaku.bench.step_shape import MEGATRON, OURS, TRANSFORMERS, StepShape
from megatron_fugaku.errors import EnvironmentError

SMALL = StepShape(num_layers=2, hidden_size=64, num_attention_heads=4, seq_length=64, vocab_size=512)


def outcome(*seconds: float) -> step.Outcome:
    names = (OURS, MEGATRON, TRANSFORMERS)
    return step.Outcome(StepShape(), tuple(
        step.Steps(name, (one, 2 * one), (10.5, 9.5, 9.0)) for name, one in zip(names, seconds, strict=False)))


def test_the_target_is_set_against_the_fastest_peer():
    slower, faster = step.compare(outcome(2.0, 4.0, 2.5))
    assert (slower.peer, slower.ratio, slower.target) == (MEGATRON, pytest.approx(2.0), None)
    assert (faster.peer, faster.ratio, faster.target, faster.ok) == (TRANSFORMERS, pytest.approx(1.25), 1.5, False)


def test_the_report_names_rates_ratios_and_losses():
    found = outcome(2.0, 4.0)
    lines = step.render_report(found, step.compare(found)).splitlines()
    assert lines[0].startswith("GPT of 12 layers x 768, fp32, dropout 0.1, 1 x 1,024 tokens")
    assert lines[2].split()[-4:] == ["2.00", "512", "10.50", "9.00"]
    assert lines[3].split()[-6:] == ["4.00", "256", "2.00", "1.5", "10.50", "9.00"]


def test_an_unknown_contender_is_an_error_with_its_last_words():
    with pytest.raises(EnvironmentError, match=r"nobody ended with code 1: KeyError: 'nobody'"), \
            step._started(["nobody"], SMALL):
        pass


@pytest.mark.mpi
@pytest.mark.timeout(300)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_contenders_train_the_same_model(precision):
    shape = StepShape(**{**SMALL.__dict__, "precision": precision, "dropout": 0.0})
    found = step.measure(shape, num_rounds=3)
    assert [steps.contender for steps in found.steps][:2] == [OURS, MEGATRON]
    ours, peer = found.steps[0].losses, found.steps[1].losses
    assert ours == pytest.approx(peer, rel=1e-5 if precision == "fp32" else 1e-2)
    for steps in found.steps:
        assert len(steps.seconds) == 3 and min(steps.seconds) > 0
        assert steps.losses[0] == pytest.approx(6.2383, abs=0.1)  # ln 512: nothing is known yet
        assert steps.losses[-1] < steps.losses[0] - 0.05


@pytest.mark.mpi
def test_rounds_below_one_are_refused():
    command = [sys.executable, "-m", "megatron_fugaku", "bench", "step", "--rounds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=stretched(60), check=False)
    assert done.returncode == 2 and "--rounds is 0" in done.stderr
    assert json.dumps(done.stdout) == '""'
