"""Programs in C that know MPI and no Python: compiled by mpicc, run under mpirun, with the preload and without."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from mpi_helpers import mpi_environment, mpirun_command
from stretch import stretched

ROOT = Path(__file__).resolve().parents[1]
C_API, PRELOADED = (ROOT / "tests" / "csrc" / room / "program.c" for room in ("c_api", "preload"))
#: Open MPI 4 and 5 then need both ends of a long message to move it.
COPIED_BY_FRAGMENTS = {"OMPI_MCA_btl_vader_single_copy_mechanism": "none",
                       "OMPI_MCA_smsc": "^cma,xpmem,knem"}


def compile_c(source: Path, program: Path, flags: str = "", mpicc: str = "mpicc") -> Path:
    """Compile a program, as C and without a warning; skip the test where there is no compiler."""
    if shutil.which(mpicc) is None:
        pytest.skip(f"{mpicc} is not installed")
    done = subprocess.run([mpicc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", str(source), *shlex.split(flags),
                           "-lm", "-lpthread", "-o", str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def run_c(program: Path, num_ranks: int, *arguments: str | Path, env: Mapping[str, str] | None = None,
          preload: Path | None = None, mpirun: str = "mpirun",
          options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program on ranks, on top of `preload`; its exit status is the caller's to check."""
    before = ["env", f"LD_PRELOAD={preload}"] if preload else []
    command = [*mpirun_command(num_ranks, mpirun), *options, *before, str(program), *map(str, arguments)]
    return subprocess.run(command, env=mpi_environment(env), capture_output=True, text=True, timeout=stretched(100),
                          check=False)


def check_c_api(program: Path, num_ranks: int, env: Mapping[str, str] | None = None, mpirun: str = "mpirun") -> str:
    """Run tests/csrc/c_api/program.c and return what it printed."""
    done = run_c(program, num_ranks, env={**COPIED_BY_FRAGMENTS, **(env or {})}, mpirun=mpirun)
    assert done.returncode == 0 and done.stdout.startswith("passed: "), done.stdout + done.stderr[-6000:]
    return done.stdout


def check_preloaded(program: Path, preload: Path, num_ranks: int, folder: Path, *arguments: str,
                    env: Mapping[str, str] | None = None, mpirun: str = "mpirun") -> str:
    """Run tests/csrc/preload/program.c without and with the preload, compare, and return what the latter said.

    Sums of fractions may differ by the rounding errors of a sum in another order: float32 and float64 of at most 4
    numbers below 1 in size.
    """
    outcomes = []
    for name, library in (("without", None), ("with", preload)):
        results = folder / name
        results.mkdir()
        done = run_c(program, num_ranks, results, *arguments, preload=library, mpirun=mpirun,
                     env={"MFUGAKU_PRELOAD_MIN_BYTES": "1", "MFUGAKU_PRELOAD_REPORT": "1", **COPIED_BY_FRAGMENTS,
                          **(env or {})})
        assert done.returncode == 0, done.stdout + done.stderr[-6000:]
        outcomes.append((results, done.stderr))
    (expected, _), (found, said) = outcomes
    for rank in range(num_ranks):
        lines = [(results / f"rank_{rank}.exact").read_text().splitlines() for results in (expected, found)]
        assert len(lines[0]) > 1800
        assert lines[0] == lines[1], [pair for pair in zip(*lines, strict=True) if pair[0] != pair[1]][:5]
        numbers = [[tuple(map(float, line.split())) for line in (results / f"rank_{rank}.close").open()]
                   for results in (expected, found)]
        assert len(numbers[0]) == 10000
        for (single, double), (our_single, our_double) in zip(*numbers, strict=True):
            assert abs(single - our_single) <= 4 * 4 * 2**-24 and abs(double - our_double) <= 4 * 4 * 2**-53
    return said
