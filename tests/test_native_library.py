"""Libraries that the real dynamic linker refuses, and the sentence that comes out."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wrong_libraries import compile_library, set_processor

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.mpi_families import TITLES
from megatron_fugaku.native_library import explain_foreign_build, load_library, present_glibc

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
NUMBERS = {"x86_64": 62, "aarch64": 183}


def said_of(path: Path) -> str:
    """Load the library, which fails, and return the sentence."""
    with pytest.raises(EnvironmentError) as caught:
        load_library("the MPI backend", path, lambda: ctypes.CDLL(str(path), mode=os.RTLD_NOW), "some.name")
    text = str(caught.value)
    assert text.endswith("[some.name]") and "\n" not in text
    return text


def test_a_library_that_fits_is_loaded(tmp_path):
    path = compile_library(tmp_path, "x.so", "int answer(void) { return 42; }")
    assert load_library("it", path, lambda: ctypes.CDLL(str(path))).answer() == 42


def library_that_asks(folder: Path, soname: str, version: str | None = None) -> Path:
    """A library that needs ``soname``, or ``version`` of it; nothing of that name stays in the folder."""
    asked = compile_library(folder, soname, "int wanted(void) { return 1; }",
                            versions={version: "wanted"} if version else None)
    path = compile_library(folder, "asks.so", "int wanted(void); int asks(void) { return wanted(); }", [asked])
    asked.unlink()
    return path


def test_another_processor_is_named(tmp_path):
    path = set_processor(compile_library(tmp_path, "x.so", "int x;"), NUMBERS[OTHER])
    assert re.match(f"the MPI backend was built for {OTHER}, but this is {platform.machine()}. ", said_of(path))


def test_a_cross_compiled_library_is_named(tmp_path):
    compiler = shutil.which(f"{OTHER}-linux-gnu-gcc")
    if compiler is None:
        pytest.skip(f"needs a cross compiler for {OTHER}")
    (tmp_path / "x.c").write_text("int x(void) { return 1; }")
    path = tmp_path / "x.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-nostdlib", "-o", path, tmp_path / "x.c"], check=True)
    assert f"was built for {OTHER}, but this is {platform.machine()}" in said_of(path)


def test_a_newer_glibc_is_asked_for_by_the_highest_version(tmp_path):
    """The linker complains about the version it meets first; what counts is the newest."""
    folder = tmp_path / "c"
    folder.mkdir()
    fake = compile_library(folder, "libc.so.6", "int one(void) { return 1; }\nint two(void) { return 2; }",
                           versions={"GLIBC_9.8": "one", "GLIBC_9.10": "two"})
    path = compile_library(tmp_path, "asks.so", "int one(void), two(void); int x(void) { return one() + two(); }",
                           [fake, Path("-nodefaultlibs")])
    text = said_of(path)
    assert text.startswith(f"the MPI backend needs glibc 9.10, but this machine has {present_glibc()}. ")
    assert "Build it on this machine: pip install" in text and "container image" in text


def test_the_present_glibc_is_the_one_that_python_runs_on():
    version = ctypes.CDLL(None).gnu_get_libc_version
    version.restype = ctypes.c_char_p
    assert present_glibc() == f"glibc {version().decode()}"


def test_a_glibc_that_another_library_asks_for_names_that_library(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    fake = compile_library(folder, "libc.so.6", "int one(void) { return 1; }", versions={"GLIBC_9.8": "one"})
    between = compile_library(tmp_path, "libbetween.so", "int one(void); int two(void) { return one(); }",
                              [fake, Path("-nodefaultlibs")])
    path = compile_library(tmp_path, "asks.so", "int two(void); int x(void) { return two(); }",
                           [between, Path(f"-Wl,-rpath,{tmp_path}")])
    assert said_of(path).startswith(f"{between}, which the MPI backend needs, needs glibc 9.8, but this machine has ")


def test_a_newer_compiler_library_is_named(tmp_path):
    pytest.importorskip("torch")  # has loaded the real libstdc++
    path = library_that_asks(tmp_path, "libstdc++.so.6", "GLIBCXX_9.9.9")
    text = said_of(path)
    assert re.match(r"the MPI backend needs GLIBCXX_9\.9\.9, which \S*libstdc\+\+\.so\.6 lacks\. ", text)


def loads(name: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import ctypes; ctypes.CDLL({name!r})"],
                          capture_output=True, check=False).returncode == 0


@pytest.fixture
def absent_mpi(monkeypatch) -> str:
    """The name of an MPI library that this machine does not have."""
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return next(name for name in TITLES if not loads(name))


def test_no_mpi_library_at_all_asks_to_install_one(tmp_path, absent_mpi, monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"])
    path = library_that_asks(tmp_path, absent_mpi)
    monkeypatch.setenv("PATH", str(tmp_path))  # no mpirun
    text = said_of(path)
    assert text.startswith(f"the MPI backend needs {absent_mpi} ({TITLES[absent_mpi]}), which is not found at ")
    assert f"Install {TITLES[absent_mpi]} (Debian's Open MPI 4: apt install openmpi-bin), load its" in text


@pytest.mark.parametrize("is_same", [True, False])
def test_the_library_of_the_mpirun_on_path_is_pointed_out(tmp_path, absent_mpi, is_same, monkeypatch):
    path = library_that_asks(tmp_path, absent_mpi)
    prefix = tmp_path / "mpi"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    (prefix / "bin" / "mpirun").write_text("#!/bin/sh\n")
    (prefix / "bin" / "mpirun").chmod(0o755)
    there = absent_mpi if is_same else next(name for name in TITLES if name != absent_mpi)
    (prefix / "lib" / there).touch()
    monkeypatch.setenv("PATH", str(prefix / "bin"))
    text = said_of(path)
    if is_same:
        assert f"It stands in {prefix / 'lib'}: add that folder to LD_LIBRARY_PATH on every node." in text
    else:
        assert f"Found is {prefix / 'lib' / there} of {TITLES[there]}: load {TITLES[absent_mpi]}" in text
        assert "MPICXX" in text


def test_another_missing_library_is_named(tmp_path):
    text = said_of(library_that_asks(tmp_path, "libquitemissing.so.7"))
    assert text.startswith("the MPI backend needs libquitemissing.so.7, which is not found at run time. ")


@pytest.mark.parametrize(("symbol", "part"), [
    ("_ZN3c106absentEv", r"which is not in torch \d.*It was built for another torch\. Rebuild it"),
    ("ompi_absent", "which the MPI library found at run time lacks.*another MPI.*MPICXX"),
    ("MPI_Absent_c", "which the MPI library found at run time lacks.*a newer one"),
    ("quite_absent", "which no library here has"),
])
def test_undefined_symbols_say_whose_they_are(tmp_path, symbol, part):
    path = compile_library(tmp_path, "x.so", f"int {symbol}(void); int x(void) {{ return {symbol}(); }}")
    assert re.match(f"the MPI backend needs {symbol}, {part}", said_of(path))


def test_a_cut_file_and_a_pointer_file_are_named(tmp_path):
    path = compile_library(tmp_path, "x.so", "int x;")
    data = path.read_bytes()
    for length in (0, 4, 500, 5000, len(data) // 2):
        path.write_bytes(data[:length])
        assert said_of(path).startswith(f"{path} ({length} bytes) is not a whole shared library. ")
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert said_of(path).startswith(f"{path} (43 bytes) is not a whole shared library. ")


def test_a_file_that_is_gone_is_said(tmp_path):
    assert "cannot be read at" in said_of(tmp_path / "gone.so")


def test_an_extension_for_another_python_or_processor_is_found(tmp_path):
    assert explain_foreign_build("the ops", tmp_path, "_ops") is None
    name = "_ops.cpython-399-any.so"
    compile_library(tmp_path, name, "int x;")
    text = str(explain_foreign_build("the ops", tmp_path, "_ops"))
    assert re.match(rf"the ops was built for another Python \({name}\), but this is Python 3\.\d+\. ", text)
    set_processor(tmp_path / name, NUMBERS[OTHER])
    text = str(explain_foreign_build("the ops", tmp_path, "_ops"))
    assert text.startswith(f"the ops was built for {OTHER}, but this is {platform.machine()}. ")
