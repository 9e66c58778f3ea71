import stat

import pytest

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.launch import mpi
from megatron_fugaku.launch.mpi import MpiRun, build_mpirun_command, find_mpirun, mpi_environment, parse_mpirun_version


@pytest.mark.parametrize("text, expected", [
    ("mpirun (Open MPI) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n", ("openmpi", "4.1.4")),
    ("mpirun (Open MPI) 5.0.11\n", ("openmpi", "5.0.11")),
    ("HYDRA build details:\n    Version:                                 5.0.2\n    Release Date: x\n",
     ("hydra", "5.0.2")),
    ("Intel(R) MPI Library for Linux* OS, Version 2021.10 Build 20230619\n", ("hydra", "2021.10")),
    ("something else 1.0\n", None),
])
def test_versions(text, expected):
    assert parse_mpirun_version(text) == expected


def test_commands():
    assert build_mpirun_command(MpiRun("/usr/bin/mpirun", "openmpi", "4.1.4"), 4, ["prog", "a b"]) == [
        "/usr/bin/mpirun", "--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none", "-n", "4", "prog", "a b"]
    assert build_mpirun_command(MpiRun("mpirun", "hydra", "5.0.2"), 2, ["prog"]) == [
        "mpirun", "-bind-to", "none", "-n", "2", "prog"]


def test_environment():
    open4, open5, hydra = (MpiRun("m", *x) for x in (("openmpi", "4.1.4"), ("openmpi", "5.0.11"), ("hydra", "5.0.2")))
    assert mpi_environment(open4, True, is_root=False) == {"OMPI_MCA_mpi_yield_when_idle": "1"}
    assert mpi_environment(open5, False, is_root=True) == {
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_ALLOW_RUN_AS_ROOT": "1",
        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "0"}
    assert mpi_environment(hydra, True, is_root=True) == {}
    assert MpiRun("m", "hydra", "unknown").major == 0


def make_program(path, words):
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_variable_wins(tmp_path, monkeypatch):
    path = make_program(tmp_path / "mympirun", "mpirun (Open MPI) 9.9.9")
    monkeypatch.setenv("MFUGAKU_MPIRUN", path)
    assert find_mpirun() == MpiRun(path, "openmpi", "9.9.9")


def test_none_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(mpi, "mpirun_candidates", lambda: [])
    with pytest.raises(EnvironmentError, match=r"no usable mpirun was found\. .*apt-get install openmpi-bin"):
        find_mpirun()


def test_an_unknown_one_is_named(tmp_path, monkeypatch):
    path = make_program(tmp_path / "strange", "strange launcher")
    monkeypatch.setattr(mpi, "mpirun_candidates", lambda: [path, str(tmp_path / "absent")])
    with pytest.raises(EnvironmentError, match=r"strange is neither Open MPI nor MPICH.*absent"):
        find_mpirun()
