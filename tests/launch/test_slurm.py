"""Real srun and sbatch on a Slurm of our own: nobody tells ranks a host or port, and a dead rank is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from private_slurm import PrivateSlurm, missing_programs
from small_run import read_losses, small_config, write_config

from megatron_fugaku.comm import build_info

PROGRAM = Path(__file__).parent / "programs" / "slurm_rank.py"
SRUN = ["srun", "--mpi=pmix", "--overcommit"]
NUM_STEPS = 4
pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def slurm():
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)")
    if build_info()["mpi_vendor"] != "Open MPI":
        pytest.skip(f"srun --mpi=pmix is for Open MPI, and the backend is built with {build_info()['mpi_vendor']}")
    with PrivateSlurm() as cluster:
        known = cluster.run(["srun", "--mpi=list"])
        if "pmix" not in known.stdout + known.stderr:
            pytest.skip("this Slurm was built without PMIx")
        yield cluster


@pytest.fixture(scope="module")
def config(small_manifest):
    return small_config(small_manifest, Path("run"), train={"train_iters": NUM_STEPS},
                        optimizer={"lr_warmup_tokens": 256})


def rank_command(*arguments: str | Path) -> list[str]:
    return [sys.executable, str(PROGRAM), *map(str, arguments)]


def test_srun_tells_each_rank_its_place(slurm):
    done = slurm.run([*SRUN, "-n", "3", *rank_command("report")])
    assert done.returncode == 0, done.stderr + slurm.logs()
    told = sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda entry: entry["rank"])
    assert told == [{"rank": rank, "world_size": 3, "local_rank": rank, "local_world_size": 3, "launcher": "slurm",
                     "sum": 6.0} for rank in range(3)], done.stderr


def test_srun_without_pmix_says_what_to_give(slurm):
    done = slurm.run(["srun", "--mpi=none", "--overcommit", "-n", "2", *rank_command("report")])
    assert done.returncode != 0
    assert done.stderr.count("mfugaku: srun started these ranks without PMIx") == 1, done.stderr
    assert "use `srun --mpi=pmix`" in done.stderr


def test_srun_pretrains(slurm, config, tmp_path):
    parallel = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}
    write_config(tmp_path / "config.yaml", {**config, "parallel": parallel})
    done = slurm.run([*SRUN, "-n", "4", sys.executable, "-m", "megatron_fugaku", "pretrain", "config.yaml"],
                     timeout_s=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr + slurm.logs()
    assert "training on 4 ranks" in done.stdout + done.stderr
    assert len(read_losses(tmp_path / "run")) == NUM_STEPS


def test_sbatch_runs_the_rendered_job(slurm, config, tmp_path):
    num_ranks = min(2, len(os.sched_getaffinity(0)))
    write_config(tmp_path / "config.yaml", {**config, "launch": {"ranks_per_node": num_ranks}})
    rendered = subprocess.run([sys.executable, "-m", "megatron_fugaku", "launch", "slurm", "config.yaml",
                               "--output", "job"], cwd=tmp_path, env=slurm.environment(), capture_output=True,
                              text=True, check=False)
    assert rendered.returncode == 0, rendered.stderr
    done = slurm.run(["sbatch", "--wait", "job/job.sh"], timeout_s=200, cwd=tmp_path)
    output = "".join(path.read_text() for path in (tmp_path / "job").glob("output-*.txt"))
    assert done.returncode == 0, done.stderr + output + slurm.logs()
    assert f"training on {num_ranks} ranks" in output
    assert len(read_losses(tmp_path / "run")) == NUM_STEPS


@pytest.mark.parametrize("options", [[], ["--kill-on-bad-exit=1"]])
def test_a_killed_rank_ends_all_within_ten_seconds_and_is_named(slurm, tmp_path, options):
    step = slurm.start([*SRUN, *options, "-n", "3", *rank_command("wait", tmp_path)])
    try:
        deadline = time.monotonic() + 100
        while len(pids := {path.name: int(path.read_text()) for path in tmp_path.glob("rank*")}) < 3:
            assert step.poll() is None and time.monotonic() < deadline, slurm.logs()
            time.sleep(0.05)
        os.kill(pids["rank1"], signal.SIGKILL)
        killed_s = time.monotonic()
        _, stderr = step.communicate(timeout=10)
        while set(pids.values()) & set(slurm.pids()):
            assert time.monotonic() - killed_s < 10, stderr
            time.sleep(0.05)
    finally:
        step.kill()
    assert step.returncode != 0
    assert ": task 1: Killed" in stderr, stderr


def test_an_exception_on_one_rank_ends_all(slurm):
    done = slurm.run([*SRUN, "-n", "3", *rank_command("raise")])
    assert done.returncode != 0
    assert "rank 1: KeyError: 'the tale of rank 1'" in done.stderr
    assert "rank 1: Traceback (most recent call last):" in done.stderr
