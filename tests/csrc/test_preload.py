"""The library for LD_PRELOAD under a real program in C that knows nothing of it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from c_programs import PRELOADED, check_preloaded, compile_c, run_c

from megatron_fugaku.c_library import PRELOAD, find_library
from megatron_fugaku.flight.files import load_flight

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(300)]
SERVED = re.compile(r"mfugaku preload: rank 0: (\w+): (\d+) of (\d+) calls served, (\d+) bytes")


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    return compile_c(PRELOADED, tmp_path_factory.mktemp("preload") / "program")


def served(said: str) -> dict[str, tuple[int, int, int]]:
    """By function: calls served, all calls, bytes."""
    return {name: tuple(map(int, numbers)) for name, *numbers in SERVED.findall(said)}


@pytest.mark.parametrize(("num_ranks", "arguments", "env", "ways"), [
    (2, ("threads",), {}, {"shared memory", "slots", "remote reads"}),
    (4, (), {}, {"shared memory", "slots", "remote reads"}),
    (3, (), {"MFUGAKU_COMM_TRANSPORT": "mpi", "MFUGAKU_COMM_ALGORITHM": "all_reduce=doubling,all=ring"},
     {"doubling", "ring"}),
])
def test_results_are_those_of_mpi(program, tmp_path, num_ranks, arguments, env, ways):
    said = check_preloaded(program, find_library(PRELOAD, program), num_ranks, tmp_path, *arguments,
                           env={**env, "MFUGAKU_COMM_FLIGHT_DIR": str(tmp_path / "flight")})
    counts = served(said)
    # The rest is what nobody but MPI does: long double, pairs, truths, logical operations, functions of the program,
    # empty vectors, communicators of one rank or of two groups, and the first collective of a communicator.
    assert counts["MPI_Allreduce"][0] > 900 and counts["MPI_Reduce_scatter_block"][0] > 900
    assert all(0.6 * num_calls < num_served <= num_calls for num_served, num_calls, _ in counts.values()), said
    records = load_flight(tmp_path / "flight")
    assert sorted(record.rank for record in records) == list(range(num_ranks))
    for record in records:
        carried = Counter(operation.name for operation in record.operations if operation.name != "creation")
        assert carried["all_reduce"] > 50 and carried["reduce_scatter"] > 50, carried
        assert {operation.way for operation in record.operations if operation.name in carried} <= ways
        assert record.ending == "finalized" and not record.open_operations


FAILURES = {
    "a setting that cannot be read": ("MFUGAKU_COMM_TRANSPORT=pigeon", "MFUGAKU_COMM_TRANSPORT='pigeon' is none of"),
    "a length that is none": ("MFUGAKU_PRELOAD_MIN_BYTES=lots", "MFUGAKU_PRELOAD_MIN_BYTES is no number of bytes"),
    "a file that cannot be made": ("MFUGAKU_COMM_FLIGHT_DIR=/proc/none", "the flight recorder cannot make /proc/none"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_rank_that_cannot_start_leaves_the_program_to_mpi(program, tmp_path, failure):
    setting, words = FAILURES[failure]
    starter = tmp_path / "start"
    starter.write_text("#!/bin/sh\n"
                       f'[ "${{OMPI_COMM_WORLD_RANK:-$PMI_RANK}}" != 1 ] || export {setting}\n'
                       f'exec env LD_PRELOAD={find_library(PRELOAD, program)} {program} "$@"\n')
    starter.chmod(0o755)
    (tmp_path / "results").mkdir()
    done = run_c(starter, 2, tmp_path / "results", env={"MFUGAKU_PRELOAD_REPORT": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("mfugaku preload")]
    assert len(lines) == 1 and words in lines[0] and lines[0].endswith("MPI's own collectives run instead."), lines
    assert len((tmp_path / "results" / "rank_1.exact").read_text().splitlines()) > 1800


def test_short_vectors_stay_with_mpi_unless_asked_for(program, tmp_path):
    done = run_c(program, 2, tmp_path, env={"MFUGAKU_PRELOAD_REPORT": "1"}, preload=find_library(PRELOAD, program))
    assert done.returncode == 0
    for num_served, num_calls, num_bytes in served(done.stderr).values():
        assert 0 < num_served < num_calls and num_bytes > 4096 * num_served, done.stderr


def test_under_address_sanitizer(comm_tests, tmp_path):
    program = compile_c(PRELOADED, tmp_path / "program", "-fsanitize=address,undefined -g1")
    said = check_preloaded(program, comm_tests("address") / PRELOAD, 2, tmp_path, "threads", env={
        "ASAN_OPTIONS": "verify_asan_link_order=0:detect_stack_use_after_return=1", "LSAN_OPTIONS": "exitcode=0"})
    assert served(said)["MPI_Allreduce"][0] > 900
    assert "ERROR: AddressSanitizer" not in said and "runtime error" not in said
