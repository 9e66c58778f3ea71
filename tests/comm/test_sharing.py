"""Shared memory between the ranks of one node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mpi_checks import check_outcome, names_of_checks, outcomes
from mpi_helpers import run_mpi

WORKERS = Path(__file__).parent / "workers"
pytestmark = [pytest.mark.mpi, pytest.mark.timeout(240)]
JOBS = {
    "2": (("sharing",), 2),
    "3 with a progress thread": (("sharing",), 3, ("MFUGAKU_COMM_PROGRESS_THREAD", "1")),
    "4": (("sharing",), 4),
}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("check", names_of_checks("sharing"))
def test_sharing(check, job):
    check_outcome(check, outcomes(*JOBS[job]))


def run_without(why: str):
    result = run_mpi([str(WORKERS / "no_sharing.py"), why], 3, timeout_s=100)
    assert result.returncode == 0, result.stderr
    return result


def test_one_rank_can_switch_it_off_for_its_groups():
    assert "cannot share memory" not in run_without("switched_off_on_one_rank").stderr


def test_a_refusal_is_said_once():
    result = run_without("refused_on_one_rank")
    assert result.stderr.count("the ranks of this node cannot share memory: the limit of file sizes (ulimit -f)") == 1
    assert result.stderr.count("MFUGAKU_COMM_TRANSPORT=mpi") == 1


def test_killed_ranks_leave_nothing_behind():
    before = set(os.listdir("/dev/shm"))
    result = run_mpi([str(WORKERS / "endings.py"), "killed"], 2, timeout_s=100)
    assert "signal 9" in result.stderr
    assert not [name for name in set(os.listdir("/dev/shm")) - before if "mfugaku" in name]
