"""Runs a worker script under mpirun, for every test that needs real ranks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from stretch import stretched

from megatron_fugaku.mpi_choice import family_of_mpirun

# Of the caller's job, if pytest itself runs under a launcher, and of torchrun.
_LAUNCHER_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "SLURM_")
_TORCH_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Makes print write a line and its end apart, so that the lines of two ranks mix.
_DROPPED = (*_TORCH_VARIABLES, "PYTHONUNBUFFERED")


def mpi_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a clean environment for ranks: one thread each, allowed to run as root, `env` on top."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_LAUNCHER_VARIABLES) and name not in _DROPPED
    }
    root_is_allowed = {
        f"{family}_ALLOW_RUN_AS_ROOT{suffix}": "1" for family in ("OMPI", "PRTE") for suffix in ("", "_CONFIRM")
    }
    return {**clean, **root_is_allowed, "OMP_NUM_THREADS": "1", **(env or {})}


def mpirun_command(num_ranks: int, mpirun: str = "mpirun") -> list[str]:
    """Return the words that start `num_ranks` ranks, more than there are cores if need be."""
    is_mpich = family_of_mpirun(shutil.which(mpirun) or mpirun) == "mpich"
    return [mpirun, *([] if is_mpich else ["--oversubscribe"]), "-n", str(num_ranks)]


def _end_group(process: subprocess.Popen, seconds_to_end: float) -> tuple[str, str]:
    """Ask the process group to end, then force it; return what it had printed."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=seconds_to_end)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()


def run_mpi(
    script_or_args: str | Path | Sequence[str],
    num_ranks: int,
    timeout_s: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    mpirun: str = "mpirun",
) -> subprocess.CompletedProcess[str]:
    """Run a Python script, or the arguments of a Python interpreter, on `num_ranks` ranks of this machine.

    Returns the finished mpirun with its text output; its exit status is the caller's to check. A run longer than
    `timeout_s`, which TEST_TIMEOUT_FACTOR stretches, is ended and fails the test with what it had printed. Without
    mpirun the test is skipped.
    """
    timeout_s = stretched(timeout_s)
    if shutil.which(mpirun) is None:
        pytest.skip(f"{mpirun} is not installed")
    arguments = [str(script_or_args)] if isinstance(script_or_args, (str, Path)) else [str(a) for a in script_or_args]
    command = [*mpirun_command(num_ranks, mpirun), sys.executable, *arguments]
    # A session of its own, so that all its processes can be ended together.
    process = subprocess.Popen(
        command,
        env=mpi_environment(env),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        stdout, stderr = _end_group(process, 10)
        pytest.fail(f"{' '.join(command)}\nran longer than {timeout_s} s\n{stdout[-4000:]}\n{stderr[-4000:]}")
    except BaseException:
        _end_group(process, 10)
        raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
