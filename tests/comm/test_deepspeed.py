"""Unmodified DeepSpeed over the MPI backend."""

from __future__ import annotations

import importlib.util

import pytest
from mpi_checks import check_outcome, names_of_checks, outcomes

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"),
]

JOB = (("deepspeed_zero",), 2, ("DS_ACCELERATOR", "cpu"))


@pytest.mark.parametrize("check", names_of_checks("deepspeed_zero"))
def test_zero(check):
    check_outcome(check, outcomes(*JOB))


def test_the_job_ends_well():
    assert outcomes(*JOB)["exit status"] == 0
