"""Runs the checks of worker modules under one mpirun and says how each of them ended."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mpi_helpers import mpi_environment, run_mpi
from stretch import stretched

WORKERS = Path(__file__).parent / "comm" / "workers"
TIMEOUT_S = 200


def names_of_checks(module: str) -> list[str]:
    """The module's `checks_to_run`, read without importing it: torch is not needed to collect tests."""
    for statement in ast.parse((WORKERS / f"{module}.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "checks_to_run":
            return [name.id for name in statement.value.elts]
    raise AssertionError(f"{module} has no checks_to_run")


@functools.cache
def outcomes(modules: tuple[str, ...], num_ranks: int, *env: tuple[str, str],
             mpirun: str = "mpirun") -> dict[str, str | int | None]:
    """Run the modules' checks once on `num_ranks` ranks; a single one goes without mpirun.

    Returns each check's failure, None for those that passed, and the job's "exit status" and "stderr". All checks
    share one start, which is what takes the time.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = ["-W", "ignore", str(WORKERS / "run_checks.py"), str(report), *modules]
        if num_ranks == 1:
            result = subprocess.run([sys.executable, *arguments], env=mpi_environment(dict(env)), capture_output=True,
                                    text=True, timeout=stretched(TIMEOUT_S), check=False)
        else:
            result = run_mpi(arguments, num_ranks, timeout_s=TIMEOUT_S, env=dict(env), mpirun=mpirun)
        if not report.exists():
            pytest.fail(f"no report; exit status {result.returncode}\n{result.stdout}\n{result.stderr}")
        return {**json.loads(report.read_text()), "exit status": result.returncode, "stderr": result.stderr}


def check_outcome(check: str, found: dict) -> None:
    """Fail unless the check passed."""
    assert check in found, f"not reached; {found['stderr'][-3000:]}"
    assert found[check] is None, found[check]
