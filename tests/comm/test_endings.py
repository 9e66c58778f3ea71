"""How jobs end: timeouts, exceptions, killed ranks, and clean exits."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from mpi_helpers import mpi_environment, run_mpi

from megatron_fugaku.errors import CommError, TrainingError

WORKERS = Path(__file__).parent / "workers"
pytestmark = [pytest.mark.mpi, pytest.mark.timeout(150)]


def run_ending(name: str, num_ranks: int) -> subprocess.CompletedProcess[str]:
    return run_mpi([str(WORKERS / "endings.py"), name], num_ranks, timeout_s=100)


def test_timeouts_say_what_was_awaited_and_end_the_job():
    result = run_ending("timeout", 2)
    raised = [line for line in result.stdout.splitlines() if line.startswith("raised: ")]
    assert len(raised) == 5, result.stdout + result.stderr
    all_reduce, recv, tagged, future, creation = raised
    assert "all_reduce number 1 of group '" in all_reduce and "rank 0 of 2, with all 2 ranks, 1024 bytes" in all_reduce
    assert "did not finish within the timeout of 1 s" in all_reduce and "[MFUGAKU_COMM_TIMEOUT_S]" in all_reduce
    assert "recv number 1 of group '" in recv and "with rank 1, 8 bytes" in recv
    assert "did not finish within the timeout of 0.2 s" in tagged
    assert "all_reduce number 2 of group '" in future and "did not finish within the timeout of 1 s" in future
    assert "creation number 0 of group" in creation
    # The last one ends a verb in one line, and the job with the exit code of a CommError.
    assert "mfugaku doctor: error: all_reduce number 3 of group '" in result.stderr
    assert "Traceback" not in result.stderr
    assert "rank 0: ends with exit status 6" in result.stderr
    assert result.returncode == CommError.exit_code == 6


def test_an_error_of_one_rank_ends_the_job_with_its_exit_code():
    result = run_ending("error_of_a_verb", 2)
    assert (
        "mfugaku doctor: error: the loss of step 7 is nan. Lower the learning rate. [optimizer.lr]\n" in result.stderr
    )
    assert "Traceback" not in result.stderr
    assert result.returncode == TrainingError.exit_code


def test_abort_ends_the_job_with_its_code():
    command = [sys.executable, str(WORKERS / "endings.py"), "aborted"]
    result = subprocess.run(command, env=mpi_environment(), capture_output=True, text=True, timeout=100, check=False)
    assert "rank 0: seen enough" in result.stderr
    assert result.returncode == 7


def test_an_uncaught_exception_ends_the_job_with_its_traceback():
    result = run_ending("uncaught_exception", 2)
    assert result.returncode != 0
    assert "rank 1: KeyError: 'the tale of rank 1'" in result.stderr
    assert "rank 1: Traceback (most recent call last):" in result.stderr


def test_an_exit_status_of_one_rank_ends_the_job():
    result = run_ending("exit_status", 2)
    assert result.returncode == 3
    assert "rank 1: ends with exit status 3" in result.stderr


def test_a_killed_rank_ends_the_job_within_ten_seconds():
    result = run_ending("killed", 2)
    end_s = time.monotonic()
    assert result.returncode != 0
    assert "signal 9" in result.stderr
    assert end_s - float(result.stdout) < 10


def test_a_clean_exit_needs_no_ceremony():
    result = run_ending("clean_without_destroying", 3)
    assert result.returncode == 0, result.stderr
    assert all(f"rank {rank} leaves" in result.stdout for rank in range(3)), result.stdout


def test_an_unmodified_script_whose_ranks_number_themselves(tmp_path):
    result = run_mpi([WORKERS / "unmodified.py", tmp_path], 3, timeout_s=100)
    assert result.returncode == 0, result.stderr
    # mpirun may cut lines of several ranks into each other's, but not within a rank's write.
    assert all(f"rank {rank} of 3 is done" in result.stdout for rank in range(3)), result.stdout
