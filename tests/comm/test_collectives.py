"""The MPI backend with real ranks. All checks of one rank count share one start, which is what takes the time."""

from __future__ import annotations

import pytest
from mpi_checks import check_outcome, names_of_checks, outcomes

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(240)]

THREAD = ("MFUGAKU_COMM_PROGRESS_THREAD", "1")
ON_FOUR = (("collectives", "libraries"), 4)
#: Modules of checks, number of ranks, environment. One rank runs without mpirun.
JOBS = {
    "1": (("collectives",), 1),
    "2": (("collectives",), 2),
    "3": (("collectives",), 3),
    "4": ON_FOUR,
    "2 with a progress thread": (("collectives",), 2, THREAD),
    "3 without shared memory": (("collectives",), 3, ("MFUGAKU_COMM_TRANSPORT", "mpi")),
}
SLOW_ON_FOUR = pytest.param("4", marks=pytest.mark.slow)


@pytest.mark.parametrize("job", [SLOW_ON_FOUR if job == "4" else job for job in JOBS])
@pytest.mark.parametrize("check", names_of_checks("collectives"))
def test_collectives(check, job):
    check_outcome(check, outcomes(*JOBS[job]))


@pytest.mark.slow
@pytest.mark.parametrize("check", names_of_checks("libraries"))
def test_libraries_on_four_ranks(check):
    check_outcome(check, outcomes(*ON_FOUR))


@pytest.mark.parametrize("job", [SLOW_ON_FOUR if job == "4" else job for job in JOBS])
def test_the_job_ends_well(job):
    assert outcomes(*JOBS[job])["exit status"] == 0
