"""The MPI backend with real ranks. All checks of one rank count share one mpirun, which is what takes the time."""

from __future__ import annotations

import ast
import functools
import json
import tempfile
from pathlib import Path

import pytest
from mpi_helpers import run_mpi

WORKERS = Path(__file__).parent / "workers"
pytestmark = [pytest.mark.mpi, pytest.mark.timeout(240)]


def names_of_checks(worker: str) -> list[str]:
    """The worker's `checks_to_run`, read without importing it: torch is not needed to collect tests."""
    for statement in ast.parse((WORKERS / worker).read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "checks_to_run":
            return [name.id for name in statement.value.elts]
    raise AssertionError(f"{worker} has no checks_to_run")


@functools.cache
def outcomes(worker: str, num_ranks: int, *env: tuple[str, str]) -> dict[str, str | None]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        result = run_mpi(["-W", "ignore", str(WORKERS / worker), str(report)], num_ranks, timeout_s=200, env=dict(env))
        if not report.exists():
            pytest.fail(f"no report; exit status {result.returncode}\n{result.stdout}\n{result.stderr}")
        return {**json.loads(report.read_text()), "exit status": result.returncode, "stderr": result.stderr}


def check_outcome(check: str, found: dict) -> None:
    assert check in found, f"not reached; {found['stderr'][-3000:]}"
    assert found[check] is None, found[check]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("check", names_of_checks("collectives.py"))
def test_collectives(check, num_ranks):
    check_outcome(check, outcomes("collectives.py", num_ranks))


@pytest.mark.parametrize("check", names_of_checks("libraries.py"))
def test_libraries_on_four_ranks(check):
    check_outcome(check, outcomes("libraries.py", 4))


@pytest.mark.parametrize("check", names_of_checks("collectives.py"))
def test_collectives_with_a_progress_thread(check):
    check_outcome(check, outcomes("collectives.py", 3, ("MFUGAKU_COMM_PROGRESS_THREAD", "1")))


def test_every_job_ends_well():
    for num_ranks in (1, 2, 3, 4):
        assert outcomes("collectives.py", num_ranks)["exit status"] == 0
