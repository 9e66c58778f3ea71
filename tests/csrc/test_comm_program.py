"""The core of the MPI backend without torch, with real ranks: plainly and under AddressSanitizer (with undefined
behaviour) and ThreadSanitizer.

ThreadSanitizer sees one process, so members of a node run as its threads as well: `--members`. MPI is not compiled
for it and synchronises in ways that it cannot see, hence `ignore_noninstrumented_modules`; that no two threads are in
MPI together the program counts itself. MPI leaves memory behind at its end, so leaks are judged by who allocated: it
is written in C, and the core takes its memory by `new` and `aligned_alloc`.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mpi_helpers import mpi_environment
from stretch import stretched

from megatron_fugaku import environment

SANITIZERS = {"": {}, "address": {"ASAN_OPTIONS": "detect_stack_use_after_return=1", "LSAN_OPTIONS": "exitcode=0"},
              "thread": {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1"}}
#: Open MPI 4 writes behind the place for a message that is too long when it copies between processes by itself.
COPIED_BY_FRAGMENTS = {"OMPI_MCA_btl_vader_single_copy_mechanism": "none"}

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def program(comm_tests) -> Callable[[str], Path]:
    """The program for a sanitizer, built from this tree when it is first asked for."""

    def build(sanitizer: str) -> Path:
        given = environment.get("MFUGAKU_COMM_TESTS")
        return Path(given) if given and not sanitizer else comm_tests(sanitizer) / "comm_program"

    return build


def run(program: Path, sanitizer: str, num_ranks: int, *arguments: str, mpirun: tuple[str, ...] = (),
        env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program on ranks, or for 0 of them as one process."""
    start = ["mpirun", "--oversubscribe", *mpirun, "-n", str(num_ranks)] if num_ranks else []
    return subprocess.run([*start, str(program), *arguments], env=mpi_environment(SANITIZERS[sanitizer] | (env or {})),
                          capture_output=True, text=True, timeout=stretched(150), check=False)


def leaks_of_ours(stderr: str) -> list[str]:
    """The reports of leaked memory that C++ code, and so none of MPI's, has taken."""
    blocks = re.findall(r"leak of .*?(?:\n\n|\Z)", stderr, re.DOTALL)
    return [block for block in blocks if re.search(r"#0 \S+ in (operator new|\S*aligned_alloc)", block)]


JOBS = {
    "2 sharing memory": (2, ()),
    "3 apart, with a progress thread": (3, ("--transport=mpi", "--progress-thread=1")),
    "4 sharing memory, with a progress thread": (4, ("--progress-thread=1",)),
    "4 apart": (4, ("--transport=mpi",)),
    "3 threads": (0, ("--members=3",)),
}
#: Sanitized programs take several times as long; what differs between 3 and 4 ranks the plain ones show.
CASES = [(sanitizer, job) for sanitizer in SANITIZERS for job in JOBS
         if not (sanitizer and job.startswith("4 apart")) and not (sanitizer == "address" and job.startswith("4"))]


@pytest.mark.parametrize(("sanitizer", "job"), CASES)
def test_all_checks_pass(program, sanitizer, job):
    num_ranks, arguments = JOBS[job]
    rounds = "4" if sanitizer else "10"
    done = run(program(sanitizer), sanitizer, num_ranks, *arguments, f"--rounds={rounds}",
               f"--timeout={stretched(30):g}", env=COPIED_BY_FRAGMENTS)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    passed = re.findall(r"passed: (\w+)", done.stdout)
    assert passed == (["thread_members", "arena"] if num_ranks == 0 else
                      ["random_collectives", "schedules", "crossed_collectives", "callbacks", "many_threads",
                       "pokes", "messages", "flight", "misuse", "disagreements", "mpi_entries"])
    assert not leaks_of_ours(done.stderr)
    assert "Sanitizer: data race" not in done.stderr


PLANTS = {
    "overflow": ("address", 2, "heap-buffer-overflow"),
    "early-free": ("address", 2, "heap-use-after-free"),
    "leak": ("address", 2, "leak of 12345 byte"),
    "early-read": ("thread", 2, "data race"),
    "unlocked-mpi": ("thread", 2, "data race"),
    "busy-slot": ("thread", 0, "data race"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_sanitizers_find_what_is_planted(program, plant):
    sanitizer, num_ranks, found = PLANTS[plant]
    arguments = ["--progress-thread=1"] if num_ranks else ["--members=2"]
    done = run(program(sanitizer), sanitizer, num_ranks, f"--plant={plant}", *arguments)
    assert found in done.stderr, done.stderr[-3000:]
    if plant == "leak":
        assert len(leaks_of_ours(done.stderr)) >= 1
    else:
        assert done.returncode != 0


def test_every_call_of_mpi_is_counted(program):
    """What the program still takes from MPI by its usual names would go past the count."""
    symbols = subprocess.run(["nm", "-D", "--undefined-only", program("")], capture_output=True, text=True, check=True)
    assert "PMPI_Isend" in symbols.stdout
    assert not re.findall(r" (MPI_\w+)", symbols.stdout)


def test_the_progress_thread_runs_on_the_core_that_is_named(program):
    core = max(os.sched_getaffinity(0))
    pinned = run(program(""), "", 2, "--progress-thread=1", f"--progress-core={core}", "--check=callbacks")
    assert "passed: callbacks" in pinned.stdout, pinned.stderr
    refused = run(program(""), "", 2, "--progress-thread=1", "--progress-core=1000", "--check=callbacks")
    assert refused.returncode != 0
    assert "may not run on core 1000" in refused.stderr and "[MFUGAKU_COMM_PROGRESS_CORE]" in refused.stderr


COLLECTIVES = ("all_reduce", "reduce", "reduce_scatter", "all_gather", "broadcast", "all_to_all", "gather", "scatter",
               "barrier", "message")
WAYS = {"shared memory": (), "MPI": ("--transport=mpi", "--algorithms=all=mpi"),
        "pieces": ("--transport=mpi", "--algorithms=all=pieces"),
        "a schedule": ("--transport=mpi", "--algorithms=all_reduce=doubling,all=ring")}


@pytest.fixture(scope="session")
def deaths(program) -> dict[tuple[str, str], subprocess.CompletedProcess[str]]:
    """By collective and way: a job whose last rank dies in it, while mpirun is told to let the others live."""
    cases = [(collective, way) for collective in COLLECTIVES for way in WAYS]
    built = program("")

    def run_one(case: tuple[str, str]) -> subprocess.CompletedProcess[str]:
        return run(built, "", 3, f"--kill={case[0]}", f"--timeout={stretched(1):g}", *WAYS[case[1]],
                   mpirun=("--enable-recovery",))

    with ThreadPoolExecutor(4) as pool:  # they mostly wait for their timeouts
        return dict(zip(cases, pool.map(run_one, cases), strict=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_all_others_are_told_when_a_rank_is_killed(deaths, collective, way):
    done = deaths[collective, way]
    told = re.findall(r"^rank (\d) after ([\d.]+) s: (.*)$", done.stdout, re.MULTILINE)
    assert sorted(rank for rank, _, _ in told) == ["0", "1"], done.stdout + done.stderr[-3000:]
    for _, seconds, error in told:
        assert float(seconds) < stretched(4), error
        assert re.search(r" of group 'group 0' \(rank \d of 3", error), error
        assert "did not finish within" in error or " failed: " in error, error
