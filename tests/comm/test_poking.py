"""Kernels let communication in flight get on between their tiles."""

from __future__ import annotations

import pytest
from mpi_checks import check_outcome, names_of_checks, outcomes

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(240)]
JOBS = {"2 sharing memory": (("poking",), 2), "2 apart": (("poking",), 2, ("MFUGAKU_COMM_TRANSPORT", "mpi"))}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("check", names_of_checks("poking"))
def test_poking(check, job):
    check_outcome(check, outcomes(*JOBS[job]))
