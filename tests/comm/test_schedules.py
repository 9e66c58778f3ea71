"""Algorithms of our own with real ranks that do not share memory."""

from __future__ import annotations

import pytest
from mpi_checks import check_outcome, names_of_checks, outcomes

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(240)]

APART = ("MFUGAKU_COMM_TRANSPORT", "mpi")
JOBS = {
    "2": (("schedules",), 2, APART),
    "3 with a progress thread": (("schedules",), 3, APART, ("MFUGAKU_COMM_PROGRESS_THREAD", "1")),
    "4": (("schedules",), 4, ("MFUGAKU_COMM_RANKS_PER_NODE", "2")),
    "6": (("schedules",), 6, APART),
    # Everything that collectives must do, on lanes wherever there are lanes for it.
    "all collectives of 4 on lanes": (("collectives",), 4, APART, ("MFUGAKU_COMM_ALGORITHM", "all=lanes:2x2,all=ring")),
}
SLOW = ("4", "6", "all collectives of 4 on lanes")
CASES = [pytest.param(job, check, marks=pytest.mark.slow if job in SLOW else ())
         for job, (modules, *_) in JOBS.items() for check in names_of_checks(modules[0])]


@pytest.mark.parametrize(("job", "check"), CASES)
def test_schedules(job, check):
    check_outcome(check, outcomes(*JOBS[job]))
