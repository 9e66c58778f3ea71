"""Where the libraries for programs without Python are, and which of them a program needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_fugaku import c_library
from megatron_fugaku.c_library import LIBRARY, PRELOAD, compiler_flags, family_of_program, find_library
from megatron_fugaku.errors import EnvironmentError


def program_with(folder: Path, library: str) -> Path:
    """A shared library that asks for one of that name."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    for name, source, words in ((library, "int f(void) { return 1; }", [f"-Wl,-soname,{library}"]),
                                ("program", "int f(void); int g(void) { return f(); }", [str(folder / library)])):
        (folder / f"{name}.c").write_text(source)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(folder / name), str(folder / f"{name}.c"), *words],
                       check=True)
    return folder / "program"


@pytest.fixture
def both(monkeypatch, tmp_path):
    for family in ("mpich", "openmpi"):
        for name in (LIBRARY, PRELOAD):
            (tmp_path / "native" / family).mkdir(parents=True, exist_ok=True)
            (tmp_path / "native" / family / name).touch()
    monkeypatch.setattr(c_library, "FOLDER", tmp_path / "native")
    return tmp_path


@pytest.mark.parametrize(("library", "family"), [("libmpi.so.12", "mpich"), ("libmpi.so.40", "openmpi")])
def test_a_program_gets_that_of_its_mpi(both, library, family):
    program = program_with(both, library)
    assert family_of_program(program) == family
    assert find_library(PRELOAD, program) == both / "native" / family / PRELOAD


def test_without_a_program_the_setting_decides(both, monkeypatch):
    monkeypatch.setenv("MFUGAKU_MPI", "mpich")
    assert find_library(LIBRARY).parent.name == "mpich"
    assert compiler_flags().split()[1:] == [f"-L{both}/native/mpich", f"-Wl,-rpath,{both}/native/mpich",
                                            "-lmfugaku_comm"]


def test_a_program_of_another_mpi_is_refused(both):
    with pytest.raises(EnvironmentError, match=r"is linked with Fujitsu MPI, but libmfugaku_preload.so here is built "
                                               r"for MPICH and Open MPI only.*MPICXX"):
        find_library(PRELOAD, program_with(both, "libmpi.so.0"))


@pytest.mark.parametrize(("program", "words"), [(Path(sys.executable), "is not linked with an MPI"),
                                                (Path(__file__), "is not linked with an MPI"),
                                                (Path("/none"), "/none cannot be read: No such file")])
def test_what_is_no_program_with_mpi_is_refused(both, program, words):
    with pytest.raises(EnvironmentError, match=words):
        find_library(PRELOAD, program)


def test_what_was_not_built_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(c_library, "FOLDER", tmp_path)
    with pytest.raises(EnvironmentError, match=r"libmfugaku_comm\.so was not built.*libopenmpi-dev.*MPICXX"):
        compiler_flags()
