"""Reading libraries that a compiler and linker made, and files that are none."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wrong_libraries import compile_library, set_processor

from megatron_fugaku.elf import read_library

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@needs_compiler
def test_processor_libraries_and_versions_are_read(tmp_path):
    source = "int first(void) { return 1; }\nint second(void) { return 2; }"
    versions = compile_library(tmp_path, "libfirst.so.3", source,
                               versions={"FIRST_1.2": "first", "FIRST_1.10": "second"})
    path = compile_library(tmp_path, "asks.so", "int first(void), second(void);\n"
                           "int both(void) { return first() + second(); }", [versions])
    library = read_library(path)
    assert library.machine == platform.machine()
    assert "libfirst.so.3" in library.needed
    assert sorted(library.versions["libfirst.so.3"]) == ["FIRST_1.10", "FIRST_1.2"]
    assert "libfirst.so.3" not in read_library(versions).versions


@needs_compiler
def test_what_readelf_says_of_the_interpreter_is_what_is_read():
    said = subprocess.run(["readelf", "-dW", sys.executable], capture_output=True, text=True, check=True,
                          env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}).stdout
    needed = [line.split("[")[1].rstrip("]") for line in said.splitlines() if "(NEEDED)" in line]
    assert list(read_library(Path(sys.executable)).needed) == needed


@needs_compiler
@pytest.mark.parametrize(("number", "name"), [(62, "x86_64"), (183, "aarch64"), (9999, "processor number 9999")])
def test_other_processors_are_named(tmp_path, number, name):
    assert read_library(set_processor(compile_library(tmp_path, "any.so", "int x;"), number)).machine == name


@needs_compiler
def test_every_length_of_a_cut_file_is_none_or_itself(tmp_path):
    path = compile_library(tmp_path, "whole.so", "int x;")
    whole, data = read_library(path), path.read_bytes()
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        assert read_library(path) in (None, whole), length
    path.write_bytes(data[:len(data) // 4])
    assert read_library(path) is None


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"version https://git-lfs.github.com/spec/v1\n" * 4,
                                     b"\x7fELF\x02\x01" + bytes(200)])
def test_other_files_are_none(tmp_path, content):
    path = tmp_path / "x.so"
    path.write_bytes(content)
    library = read_library(path)
    assert library is None or (library.machine, library.needed) == ("processor number 0", ())


def test_32_bits_are_only_named(tmp_path):
    path = tmp_path / "x.so"
    path.write_bytes(b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x03\x00" + b"\x03\x00" + bytes(100))
    assert read_library(path).machine == "i386"
