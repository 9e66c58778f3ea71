"""Which build of the MPI backend a process takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from megatron_fugaku import mpi_choice
from megatron_fugaku.environment import get
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.mpi_choice import choose_build, family_of_mpirun, find_builds, find_launcher
from megatron_fugaku.mpi_families import FAMILIES, FAMILY_TITLES, TITLES

BOTH = {"openmpi": Path("_mpi_openmpi.so"), "mpich": Path("_mpi_mpich.so")}
OPEN_ONLY = {"openmpi": BOTH["openmpi"]}
OF_OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"}
OF_HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "2"}


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A process without launcher, mpirun, and settings; its builds say nothing about their libraries."""
    for name in [*OF_OPEN_MPI, *OF_HYDRA, "PJM_JOBID", "SLURM_STEP_ID", "MFUGAKU_MPI", "MFUGAKU_MPIRUN",
                 "LD_LIBRARY_PATH"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(mpi_choice, "_ancestors", lambda pid: iter(()))
    monkeypatch.setattr(mpi_choice, "_find_library", lambda path, prefix: prefix)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return monkeypatch


def use(monkeypatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def make_prefix(folder: Path, library: str, folder_name: str = "lib") -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "mpirun").touch()
    (folder / folder_name).mkdir()
    (folder / folder_name / library).touch()
    return folder / "bin" / "mpirun"


def test_every_library_has_a_family_with_a_title():
    assert FAMILIES.keys() == TITLES.keys()
    assert set(FAMILIES.values()) == FAMILY_TITLES.keys()


def test_builds_are_those_of_this_python(tmp_path):
    mine = EXTENSION_SUFFIXES[0]
    for name in (f"_mpi_openmpi{mine}", f"_mpi_mpich{mine}", "_mpi_fujitsu.cpython-399-any.so", f"_mpi{mine}",
                 f"_other{mine}"):
        (tmp_path / name).touch()
    assert find_builds(tmp_path) == {family: tmp_path / f"_mpi_{family}{mine}" for family in ("mpich", "openmpi")}


@pytest.mark.parametrize(("variables", "family", "is_certain"), [
    ({}, None, None),
    ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}, None, None),
    (OF_OPEN_MPI, "openmpi", True),
    ({**OF_OPEN_MPI, "SLURM_STEP_ID": "0"}, "openmpi", True),
    (OF_HYDRA, "mpich", True),
    ({**OF_HYDRA, "SLURM_STEP_ID": "0"}, "mpich", False),
    ({"PMIX_RANK": "0", "SLURM_STEP_ID": "0"}, "openmpi", False),
    ({"PMIX_RANK": "0", "PJM_JOBID": "7"}, "fujitsu", False),
])
def test_the_launcher_is_known_by_its_variables(alone, variables, family, is_certain):
    found = find_launcher(variables)
    assert (found and found.family, found and found.is_certain) == (family, is_certain)


def test_the_program_that_started_it_is_found_among_its_ancestors(alone):
    alone.setattr(mpi_choice, "_ancestors", lambda pid: map(Path, ("/usr/bin/bash", "/opt/mpich/bin/hydra_pmi_proxy")))
    found = find_launcher({**OF_HYDRA, "SLURM_STEP_ID": "0"})
    assert (found.family, found.is_certain, found.prefix) == ("mpich", True, Path("/opt/mpich"))
    assert find_launcher({"PMIX_RANK": "0", "PJM_JOBID": "7"}).family == "mpich"
    other = find_launcher(OF_OPEN_MPI)  # an mpirun of Open MPI started by a rank of MPICH
    assert (other.family, other.prefix) == ("openmpi", None)


def test_ancestors_end_with_the_first_process():
    programs = list(mpi_choice._ancestors(os.getpid()))
    assert programs
    child = subprocess.run([sys.executable, "-c", "from megatron_fugaku.mpi_choice import _ancestors; import os\n"
                            "print(next(_ancestors(os.getpid())))"], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == os.readlink("/proc/self/exe")


@pytest.mark.parametrize(("variables", "family", "reason"), [
    (OF_OPEN_MPI, "openmpi", "it started this process (OMPI_COMM_WORLD_RANK)"),
    (OF_HYDRA, "mpich", "it started this process (PMI_RANK)"),
    ({**OF_OPEN_MPI, "MFUGAKU_MPI": "mpich"}, "mpich", "MFUGAKU_MPI says so"),
    ({}, "openmpi", "the first one built"),
])
def test_the_build_is_its_launchers(alone, variables, family, reason):
    use(alone, variables)
    choice = choose_build(BOTH)
    assert (choice.family, choice.path, choice.reason) == (family, BOTH[family], reason)


def test_a_launcher_without_a_build_is_refused_in_one_sentence(alone):
    use(alone, OF_HYDRA)
    with pytest.raises(EnvironmentError) as error:
        choose_build(OPEN_ONLY)
    assert str(error.value).startswith(
        "MPICH started this process (PMI_RANK), but the MPI backend here is built for Open MPI only. With another MPI "
        "than its launcher's every rank would be alone. ")
    assert "MPICXX" in str(error.value)


def test_what_slurm_offers_several_of_is_no_reason_to_refuse(alone):
    use(alone, {**OF_HYDRA, "SLURM_STEP_ID": "0"})
    assert choose_build(OPEN_ONLY).family == "openmpi"
    assert choose_build(BOTH).family == "mpich"


def test_a_build_that_is_asked_for_must_exist(alone):
    use(alone, {"MFUGAKU_MPI": "mpich"})
    with pytest.raises(EnvironmentError, match=r"MFUGAKU_MPI asks for MPICH, but .* built for Open MPI only"):
        choose_build(OPEN_ONLY)
    with pytest.raises(EnvironmentError, match=r"MFUGAKU_MPI='mvapich' .* none of openmpi, "):
        get("MFUGAKU_MPI", {"MFUGAKU_MPI": "mvapich"})


def test_without_a_launcher_the_mpirun_at_hand_decides(alone, tmp_path):
    mpirun = make_prefix(tmp_path / "elsewhere", "libmpi.so.12", "lib64")
    alone.setattr(shutil, "which", lambda name: str(mpirun))
    assert choose_build(BOTH).family == "mpich"
    assert choose_build(OPEN_ONLY).family == "openmpi"  # there is nothing else
    make_prefix(tmp_path, "libmpi.so.40")  # beside this Python
    assert choose_build(BOTH).family == "openmpi"
    use(alone, {"MFUGAKU_MPIRUN": str(mpirun)})
    assert choose_build(BOTH).family == "mpich"


def test_an_mpirun_is_known_by_its_name_or_its_library(tmp_path):
    assert family_of_mpirun(make_prefix(tmp_path / "a", "libmpi.so.40")) == "openmpi"
    assert family_of_mpirun(make_prefix(tmp_path / "b", "libmpich.so.12")) == "mpich"
    assert family_of_mpirun(make_prefix(tmp_path / "c", "libother.so")) is None
    (tmp_path / "c" / "bin" / "orterun").touch()
    (tmp_path / "c" / "bin" / "mpiexec").symlink_to("orterun")
    assert family_of_mpirun(tmp_path / "c" / "bin" / "mpiexec") == "openmpi"


def test_the_library_comes_from_the_launchers_prefix(monkeypatch, tmp_path):
    from megatron_fugaku.comm.extension import find_extension

    built = find_extension().path  # asks for a library of this name
    name = next(name for name in FAMILIES if name.encode() in built.read_bytes())
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "python"))
    assert mpi_choice._find_library(built, None) is None
    make_prefix(tmp_path / "python", name)
    assert mpi_choice._find_library(built, None) == tmp_path / "python" / "lib" / name
    make_prefix(tmp_path / "launcher", name)
    assert mpi_choice._find_library(built, tmp_path / "launcher") == tmp_path / "launcher" / "lib" / name
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "launcher" / "lib"))
    assert mpi_choice._find_library(built, None) is None  # the linker takes it from there
