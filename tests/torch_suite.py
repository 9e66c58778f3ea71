"""Runs torch's own suite for distributed backends (in its wheel) on ranks of an MPI, and counts what becomes of it.

    python tests/torch_suite.py [--mpirun build/mpi/mpich/bin/mpirun] [--only REGEX]

prints one line of totals, the skipped cases by reason and the failed ones in full. A case that skips because of the
backend's name is tried again with the suite told that it is gloo: gloo's cases are those for CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpi_helpers import mpi_environment, mpirun_command
from stretch import stretched

WORKER = Path(__file__).parent / "comm" / "workers" / "torch_suite.py"
NUM_RANKS = 4  # as many as any case for CPUs asks for
SILENCE_S = 120  # after which a case that says nothing more is taken for hanging

LEAST_SHARE = 0.95
LEAST_CASES = 110  # that are for CPUs; fewer mean that the suite no longer runs what it should

#: Why a case cannot run, by what the suite says about it. Whatever none of these matches counts as applicable.
NOT_FOR_CPUS = (
    ("needs a GPU", r"CUDA|GPU|high priority stream|gpu"),
    ("for NCCL or UCC alone", r"(?i)only nccl|nccl.* only|requires backend \w+ to be one of \{('(nccl|ucc)'(, )?)+\}"),
    ("switched off by torch", r"github\.com/pytorch|Test is failing"),
    ("needs a package", r"no torchvision"),
)
#: Skips because of the backend's name, for which the suite is told another one.
BY_NAME = r"(?i)gloo"


@dataclass(frozen=True)
class Outcome:
    """How a case ended, "passed", "failed" or "skipped", why, and the longest time that a rank took."""

    how: str
    why: str = ""
    seconds: float = 0.0

    @property
    def excuse(self) -> str:
        """Why the case is none for this backend on CPUs; empty when it is one, whatever became of it."""
        if self.how != "skipped":
            return ""
        return next((kind for kind, pattern in NOT_FOR_CPUS if re.search(pattern, self.why)), "")


def read_reports(folder: Path) -> dict[str, Outcome]:
    """Return what became of the cases that the ranks of a job began, in their order."""
    last: dict[str, dict[str, dict]] = {}
    for path in sorted(folder.glob("rank_*.jsonl")):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            last.setdefault(entry["case"], {})[path.stem] = entry
    outcomes = {}
    for case, ranks in last.items():
        hows = {entry["how"] for entry in ranks.values()}
        if hows <= {"passed"} or hows <= {"skipped"}:
            entry = next(iter(ranks.values()))
            outcomes[case] = Outcome(entry["how"], entry["why"], max(entry["seconds"] for entry in ranks.values()))
        else:
            outcomes[case] = Outcome("failed", "\n".join(f"{rank}: {entry['how']} {entry['why']}"
                                                         for rank, entry in sorted(ranks.items())))
    return outcomes


def run_job(mpirun: str, mask: str, cases: Sequence[str] | None, folder: Path) -> tuple[dict[str, Outcome], list[str]]:
    """Run cases, all of them for None, on one job, which ends with the first failure.

    Returns what became of those that it reached, and the names of all that it was given.
    """
    wanted = folder / "cases.json"
    if cases is not None:
        wanted.write_text(json.dumps(cases))
    command = [*mpirun_command(NUM_RANKS, mpirun), sys.executable, "-W", "ignore", str(WORKER), str(folder), mask]
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(command, env=mpi_environment({"MFUGAKU_COMM_TIMEOUT_S": str(stretched(60))}),
                                   stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait(process, folder)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        reached = read_reports(folder)
        if not reached:
            output.seek(0)
            raise AssertionError(f"{' '.join(command)} reached no case\n{output.read()[-4000:]}")
    return reached, json.loads(wanted.read_text())


def _wait(process: subprocess.Popen, folder: Path) -> None:
    """Wait for a job, as long as its ranks go on reporting."""
    size, since = -1, time.monotonic()
    while process.poll() is None and time.monotonic() - since < stretched(SILENCE_S):
        time.sleep(0.2)
        new = sum(path.stat().st_size for path in folder.glob("rank_*.jsonl"))
        if new != size:
            size, since = new, time.monotonic()


def run_cases(mpirun: str, mask: str, cases: Sequence[str] | None = None) -> dict[str, Outcome]:
    """Return what became of cases, all of them for None, with the suite told that the backend is called ``mask``."""
    outcomes: dict[str, Outcome] = {}
    while cases is None or cases:
        with tempfile.TemporaryDirectory() as folder:
            reached, given = run_job(mpirun, mask, cases, Path(folder))
        outcomes |= reached
        cases = [case for case in given if case not in outcomes]
    return outcomes


def run_suite(mpirun: str = "mpirun", only: str = "") -> dict[str, Outcome]:
    """Return what became of every case, or of those whose names match ``only``."""
    outcomes = run_cases(mpirun, "mpi")
    again = [case for case, outcome in outcomes.items()
             if outcome.how == "skipped" and re.search(BY_NAME, outcome.why)]
    outcomes |= run_cases(mpirun, "gloo", again) if again else {}
    return {case: outcome for case, outcome in outcomes.items() if re.search(only, case)}


def count(outcomes: dict[str, Outcome]) -> tuple[int, int]:
    """Return how many cases are applicable to this backend on CPUs, and how many of these passed."""
    applicable = [outcome for outcome in outcomes.values() if not outcome.excuse]
    return len(applicable), sum(outcome.how == "passed" for outcome in applicable)


def render(outcomes: dict[str, Outcome]) -> str:
    """Return the totals, the reasons of skipped cases and the failures, for people."""
    applicable, passed = count(outcomes)
    lines = [f"{len(outcomes)} cases, {applicable} applicable, {passed} passed ({passed / max(1, applicable):.1%})"]
    excuses = Counter(outcome.excuse for outcome in outcomes.values() if outcome.excuse)
    lines += [f"  {number:4d} not applicable: {kind}" for kind, number in excuses.most_common()]
    for case, outcome in outcomes.items():
        if outcome.how != "passed" and not outcome.excuse:
            lines.append(f"{case} {outcome.how}: {shorten(outcome.why)}")
    return "\n".join(lines)


def check_suite(outcomes: dict[str, Outcome]) -> None:
    """Fail unless nearly all applicable cases passed and every other has a reason."""
    applicable, passed = count(outcomes)
    print(render(outcomes))
    assert applicable >= LEAST_CASES, render(outcomes)
    assert passed >= LEAST_SHARE * applicable, render(outcomes)
    assert all(outcome.why for outcome in outcomes.values() if outcome.how != "passed")


def shorten(why: str) -> str:
    """Return the lines of a failure that say most: of each rank the exception, without advice to run it again."""
    kept = [line for line in why.splitlines() if line.strip() and not re.match(r"\s|To execute|This message can", line)]
    return "\n".join(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--only", default="", help="a regular expression of names")
    arguments = parser.parse_args()
    print(render(run_suite(arguments.mpirun, arguments.only)))


if __name__ == "__main__":
    main()
