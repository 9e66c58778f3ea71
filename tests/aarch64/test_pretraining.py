"""A real pretraining on four ranks has the losses of every other processor, and goes on from its checkpoint."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mpi_helpers import mpi_environment, run_mpi
from small_run import read_losses, write_config
from stretch import stretched

SCRIPT = Path(__file__).parents[1] / "golden" / "pretraining.py"
# fp32 sums in another order, by other vector lengths and torch versions.
TOLERANCE = 1e-6

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def golden():
    """The module that says what is trained."""
    spec = importlib.util.spec_from_file_location("golden_pretraining", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expected(golden) -> dict:
    return json.loads(golden.GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def manifest(golden, tmp_path_factory) -> Path:
    return golden.build_golden_data(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def interrupted(golden, manifest, tmp_path_factory) -> Path:
    """A run of four ranks, started as users start it, that stopped half way."""
    folder = tmp_path_factory.mktemp("run")
    content = golden.golden_config(manifest, folder / "run")
    config = write_config(folder / "golden.yaml", content)
    done = run_mpi(["-m", "megatron_fugaku", "pretrain", config, f"train.exit_interval={golden.STOP_AT}"], 4)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


def golden_losses(expected: dict, first: int, last: int) -> dict[int, float]:
    return {step: expected["losses"][str(step)] for step in range(first, last + 1)}


def test_the_tokens_are_the_same(golden, expected, manifest):
    """Text, tokenizer training and token files; all else here would differ with them."""
    assert golden.digest_tokens(manifest) == expected["tokens_sha256"]


def test_four_ranks_have_the_golden_losses(golden, expected, interrupted):
    losses = read_losses(interrupted / "run")
    assert losses == pytest.approx(golden_losses(expected, 1, golden.STOP_AT), rel=TOLERANCE, abs=0)


def test_one_rank_goes_on_from_the_checkpoint_of_four(golden, expected, interrupted):
    """The whole model meets on one rank, which starts without mpirun; its losses go on as if nothing had happened."""
    command = [sys.executable, "-m", "megatron_fugaku", "pretrain", str(interrupted / "golden.yaml"),
               "parallel.tensor_model_parallel_size=1", "parallel.pipeline_model_parallel_size=1"]
    done = subprocess.run(command, env=mpi_environment(), capture_output=True, text=True, timeout=stretched(100),
                          check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    losses = read_losses(interrupted / "run")
    assert losses == pytest.approx(golden_losses(expected, 1, golden.NUM_STEPS), rel=TOLERANCE, abs=0)
    assert losses[golden.NUM_STEPS] < losses[1] - 0.1
