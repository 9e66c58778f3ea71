"""Ranks that die, signals, and numbers that are not finite: the job ends, says why, and the run goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mpi_helpers import mpi_environment, run_mpi
from small_run import read_losses, small_config, write_config

from megatron_fugaku.checkpoint import CheckpointStore
from megatron_fugaku.checkpoint.checkpointer import read_description
from megatron_fugaku.report import load_metrics

pytestmark = [pytest.mark.mpi, pytest.mark.slow]
TP, PP = "tensor_model_parallel_size", "pipeline_model_parallel_size"
NUM_RANKS = 4
WORKERS = Path(__file__).parent / "workers"


def start(config: Path) -> subprocess.Popen:
    command = ["mpirun", "--oversubscribe", "-n", str(NUM_RANKS), sys.executable, "-m", "megatron_fugaku", "pretrain",
               str(config)]
    return subprocess.Popen(command, env=mpi_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)


def wait_until(condition, process: subprocess.Popen, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run did not get there in time"
        time.sleep(0.01)


def steps_done(run_dir: Path) -> int:
    return len(read_losses(run_dir)) if (run_dir / "metrics.jsonl").exists() else 0


def rank_process(mpirun: subprocess.Popen, rank: int) -> psutil.Process:
    for child in psutil.Process(mpirun.pid).children(recursive=True):
        if child.environ().get("OMPI_COMM_WORLD_RANK", child.environ().get("PMIX_RANK")) == str(rank):
            return child
    raise AssertionError(f"no process of rank {rank}")


def train(config: Path) -> subprocess.CompletedProcess:
    return run_mpi(["-m", "megatron_fugaku", "pretrain", config], NUM_RANKS, timeout_s=200)


def test_kill_of_a_rank_ends_all_ranks_and_the_run_resumes(small_manifest, tmp_path):
    content = small_config(small_manifest, tmp_path / "run", parallel={TP: 2, PP: 2}, train={"train_iters": 24},
                           checkpoint={"save_interval": 4})
    killed = write_config(tmp_path / "run.yaml", content)
    mpirun = start(killed)
    try:
        wait_until(lambda: steps_done(tmp_path / "run") >= 9, mpirun)
        ranks = psutil.Process(mpirun.pid).children(recursive=True)
        victim = rank_process(mpirun, 2)
        victim.send_signal(signal.SIGKILL)
        started = time.monotonic()
        _, stderr = mpirun.communicate(timeout=10)
        assert time.monotonic() - started < 10
        assert mpirun.returncode != 0
        assert "rank 2" in stderr
        _, alive = psutil.wait_procs(ranks, timeout=max(0.1, 10 - (time.monotonic() - started)))
        assert alive == []
    finally:
        if mpirun.poll() is None:
            os.killpg(mpirun.pid, signal.SIGKILL)

    resumed = train(killed)
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    assert "resumed from" in resumed.stdout
    metrics = load_metrics(tmp_path / "run")
    assert [step.iteration for step in metrics.train] == list(range(1, 25))
    assert metrics.repeated
    assert all(step.is_equal for step in metrics.repeated)


def test_kill_while_a_checkpoint_is_written_leaves_the_last_good_one(small_manifest, tmp_path):
    content = small_config(small_manifest, tmp_path / "run", parallel={TP: 2, PP: 2}, train={"train_iters": 100},
                           checkpoint={"save_interval": 2})
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    mpirun = start(write_config(tmp_path / "run.yaml", content))
    try:
        wait_until(lambda: store.iterations() and any(store.directory.glob(".iter_*.partial/*")), mpirun)
        rank_process(mpirun, 0).send_signal(signal.SIGKILL)
        mpirun.communicate(timeout=10)
    finally:
        if mpirun.poll() is None:
            os.killpg(mpirun.pid, signal.SIGKILL)
    assert store.latest() == store.iterations()[-1]
    path = store.check(store.latest())
    assert read_description(path)["iteration"] == store.latest()


def test_sigterm_saves_and_ends_cleanly(small_manifest, tmp_path):
    content = small_config(small_manifest, tmp_path / "run", parallel={PP: 2}, train={"train_iters": 100_000})
    mpirun = start(write_config(tmp_path / "run.yaml", content))
    try:
        wait_until(lambda: steps_done(tmp_path / "run") >= 2, mpirun)
        rank_process(mpirun, 1).send_signal(signal.SIGTERM)  # one rank alone is told; all must stop at the same step
        stdout, stderr = mpirun.communicate(timeout=60)
    finally:
        if mpirun.poll() is None:
            os.killpg(mpirun.pid, signal.SIGKILL)
    assert mpirun.returncode == 0, stderr[-4000:]
    assert "training ends after step" in stdout
    assert "interrupted" in stdout
    last = max(read_losses(tmp_path / "run"))
    tracker = tmp_path / "run" / "checkpoints" / "latest_checkpointed_iteration.txt"
    assert int(tracker.read_text()) == last


@pytest.mark.parametrize("moment", ["all_reduce", "save"])
def test_a_signal_at_any_moment_stops_all_ranks_at_one_step(small_manifest, tmp_path, moment):
    """One that comes while the ranks agree, or just after, is neither lost nor heeded by its rank alone."""
    content = small_config(small_manifest, tmp_path / "run", parallel={PP: 2}, train={"train_iters": 6},
                           checkpoint={"save_interval": 2})
    done = run_mpi([WORKERS / "train_signalled.py", moment, write_config(tmp_path / "run.yaml", content)], 2)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "training ends after step 3: interrupted" in done.stdout
    assert max(read_losses(tmp_path / "run")) == 3
    assert CheckpointStore(tmp_path / "run" / "checkpoints").latest() == 3


def test_a_gradient_that_is_not_finite_stops_training_with_one_error(small_manifest, tmp_path):
    content = small_config(small_manifest, tmp_path / "run", parallel={TP: 2, PP: 2},
                           optimizer={"lr": 1e30, "lr_warmup_tokens": 0}, train={"max_skipped_steps": 1})
    done = train(write_config(tmp_path / "run.yaml", content))
    assert done.returncode == 10, done.stderr[-4000:]
    assert "that is not finite" in done.stderr
    assert "[train.max_skipped_steps]" in done.stderr
    assert "update skipped" in done.stdout


def test_a_damaged_token_file_ends_every_rank(small_manifest, tmp_path):
    prefix = tmp_path / "damaged"
    source = next(small_manifest.parent.glob("tokens/code.bin"))
    prefix.with_suffix(".bin").write_bytes(source.read_bytes()[:1000])
    prefix.with_suffix(".idx").write_bytes(source.with_suffix(".idx").read_bytes())
    content = small_config(small_manifest, tmp_path / "run", parallel={TP: 2, PP: 2})
    tokenizer = next(small_manifest.parent.glob("tokenizer/*.model"))
    content["data"] = {"data_path": [str(prefix)], "tokenizer_model": str(tokenizer)}
    done = train(write_config(tmp_path / "run.yaml", content))
    assert done.returncode == 7, done.stderr[-4000:]
    assert "damaged.bin has 1000 bytes, its index describes" in done.stderr
    assert "Traceback" not in done.stderr
