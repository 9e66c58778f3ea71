"""mfugaku_comm.h: a real program in C, with real ranks, plainly and under AddressSanitizer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from c_programs import C_API, check_c_api, compile_c, run_c

from megatron_fugaku.c_library import HEADERS, LIBRARY, compiler_flags, find_library

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    return compile_c(C_API, tmp_path_factory.mktemp("c_api") / "program", compiler_flags())


@pytest.mark.parametrize(("num_ranks", "env", "memory"), [
    (2, {}, "shared"), (4, {}, "shared"), (3, {"MFUGAKU_COMM_TRANSPORT": "mpi"}, "no"),
    (4, {"MFUGAKU_COMM_RANKS_PER_NODE": "2", "MFUGAKU_COMM_ALGORITHM": "all=hierarchical+ring"}, "no")])
def test_every_function_agrees_with_mpi(program, num_ranks, env, memory):
    assert f"passed: {memory} memory; megatron_fugaku comm, ABI 1, built for " in check_c_api(program, num_ranks, env)


def test_a_rank_that_does_not_come_is_an_error_on_the_others(program):
    done = run_c(program, 3, "late")
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"told: barrier number 1 of group 'everybody' \(rank (\d) of 3", done.stdout)
    assert sorted(told) == ["0", "1"]


def test_settings_that_cannot_be_read_are_an_error(program):
    done = run_c(program, 1, env={"MFUGAKU_COMM_TRANSPORT": "pigeon"})
    assert done.returncode != 0
    assert "MFUGAKU_COMM_TRANSPORT='pigeon' is none of auto, mpi, utofu. [MFUGAKU_COMM_TRANSPORT]" in done.stderr


def test_under_address_sanitizer(comm_tests, tmp_path):
    folder = comm_tests("address")
    flags = f"-fsanitize=address,undefined -g1 -I{HEADERS} -L{folder} -Wl,-rpath,{folder} -lmfugaku_comm"
    program = compile_c(C_API, tmp_path / "program", flags)
    # MPI leaves memory behind at its end; what is left of ours, C++ has allocated.
    done = run_c(program, 2, env={"ASAN_OPTIONS": "detect_stack_use_after_return=1", "LSAN_OPTIONS": "exitcode=0"})
    assert done.returncode == 0 and "passed: shared memory" in done.stdout, done.stdout + done.stderr[-6000:]
    assert "ERROR: AddressSanitizer" not in done.stderr and "runtime error" not in done.stderr
    leaks = re.findall(r"leak of .*?(?:\n\n|\Z)", done.stderr, re.DOTALL)
    assert not [leak for leak in leaks if re.search(r"#0 \S+ in (operator new|\S*aligned_alloc)", leak)]


def test_the_library_needs_neither_python_nor_torch_and_shows_only_its_own_names():
    library = find_library(LIBRARY)
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "libmpi" in needed and not re.search("torch|c10|python", needed)
    symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in symbols.splitlines()}
    declared = re.findall(r"MFUGAKU_COMM_API [^;]*?(mfugaku_comm_\w+)\(", (HEADERS / "mfugaku_comm.h").read_text())
    assert len(declared) > 25 and names == set(declared)
