"""What became of tests, put together from what every rank of its jobs reported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: What a rank says that waited in vain for another one.
GIVEN_UP = ("did not finish within the timeout", "timed out")
#: How a job ended that was given no more time.
TIME_IS_UP = "the time limit of the folder was reached"
_ORDER = ("passed", "skipped", "failed", "crashed", "not run")
_MAX_MESSAGE = 1500


@dataclass
class Result:
    """How a test ended, "passed", "skipped", "failed", "crashed" or "not run", and why.

    ``where`` is the last line of the traceback, FILE:LINE, that a failure has.
    """

    how: str
    why: str = ""
    where: str = ""
    seconds: float = 0.0


@dataclass
class JobReport:
    """What the ranks of one job wrote: the tests that they were to run, None where they came to no such list, how tests
    ended, on all ranks, files that could not be collected, and whether the ranks stopped between two tests."""

    collected: list[str] | None = None
    ended: dict[str, Result] = field(default_factory=dict)
    broken: dict[str, Result] = field(default_factory=dict)
    stopped: bool = False


def _why(longrepr: object) -> tuple[str, str]:
    """The message and the place of a failure or skip, as pytest's JSON has it."""
    if isinstance(longrepr, list):  # a skip: file, line, reason
        return str(longrepr[2]), f"{longrepr[0]}:{longrepr[1]}"
    if isinstance(longrepr, dict):
        crash = longrepr.get("reprcrash") or {}
        entries = ((longrepr.get("reprtraceback") or {}).get("reprentries")) or []
        places = [entry["data"].get("reprfileloc") for entry in entries if isinstance(entry.get("data"), dict)]
        last = next((place for place in reversed(places) if place), None) or crash
        where = f"{last.get('path', '')}:{last.get('lineno', '')}"
        return str(crash.get("message") or longrepr.get("longrepr") or ""), where
    return str(longrepr or ""), ""


def _read_rank(path: Path) -> JobReport:
    report, phases = JobReport(), {}
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # cut off where the rank was killed
            continue
        kind = entry.get("$report_type")
        if kind == "CollectReport" and entry["outcome"] != "passed":
            why, where = _why(entry["longrepr"])
            report.broken[entry["nodeid"]] = Result(entry["outcome"], why[-_MAX_MESSAGE:], where)
        elif kind == "TestReport":
            _add_phase(report, phases.setdefault(entry["nodeid"], []), entry)
    return report


def _add_phase(report: JobReport, phases: list[Result], entry: dict) -> None:
    if "wasxfail" in entry:
        result = Result("passed", f"expected to fail: {entry['wasxfail']}")
    else:
        why, where = _why(entry["longrepr"]) if entry["outcome"] != "passed" else ("", "")
        result = Result(entry["outcome"], why[:_MAX_MESSAGE], where)
    result.seconds = entry.get("duration", 0.0)
    phases.append(result)
    if entry["when"] == "teardown":
        worst = max(phases, key=lambda phase: _ORDER.index(phase.how))
        report.ended[entry["nodeid"]] = Result(worst.how, worst.why, worst.where,
                                               round(sum(phase.seconds for phase in phases), 2))


def _of_ranks(results: list[Result]) -> Result:
    """One result of those of all ranks: failed where it failed on any, by the one that says most about why; else passed
    where it passed on any."""
    failed = [result for result in results if result.how == "failed"]
    if failed:
        # What gave up waiting for others is a consequence.
        return min(failed, key=lambda result: any(words in result.why for words in GIVEN_UP))
    return next((result for result in results if result.how == "passed"), results[0])


def read_job(folder: Path) -> JobReport:
    """Return what the ranks of a job wrote into its folder."""
    ranks = [_read_rank(path) for path in sorted(folder.glob("rank_*.jsonl"))]
    job = JobReport()
    listed = folder / "collected.json"
    if listed.exists():
        job.collected = json.loads(listed.read_text())
    job.stopped = (folder / "stopped").exists()
    for rank in ranks:
        job.broken |= rank.broken
    for test in [test for test in ranks[0].ended if all(test in rank.ended for rank in ranks)] if ranks else ():
        job.ended[test] = _of_ranks([rank.ended[test] for rank in ranks])
    # A rank that failed ended the others, by MPI_Abort for one.
    for test in job.collected or ():
        failed = [rank.ended[test] for rank in ranks if rank.ended.get(test, Result("")).how == "failed"]
        if test not in job.ended and failed:
            job.ended[test] = _of_ranks(failed)
    return job


@dataclass
class Report:
    """What became of tests; ``broken`` says why files could not be collected."""

    tests: dict[str, Result] = field(default_factory=dict)
    broken: dict[str, Result] = field(default_factory=dict)
    seconds: float = 0.0
    num_jobs: int = 0
    left: list[str] = field(default_factory=list)

    def add(self, job: JobReport, ending: str, file: str) -> bool:
        """Add what a job reached. The first test that it did not end is the one in which it ended. Return whether
        another job is to run what is left."""
        self.num_jobs += 1
        self.broken |= job.broken
        self.tests |= job.ended
        if job.collected is None:
            if not self.broken:
                self.broken[file] = Result("crashed", ending)
            return False
        self.left = [test for test in job.collected if test not in self.tests]
        if self.left and not job.stopped:
            how = "not run" if ending == TIME_IS_UP else "crashed"
            self.tests[self.left.pop(0)] = Result(how, ending)
        return bool(self.left)

    def merge(self, other: Report) -> Report:
        """Take what is newer in; what was not run this time stays as it was."""
        self.tests |= {test: result for test, result in other.tests.items()
                       if result.how != "not run" or test not in self.tests}
        self.broken = {file: result for file, result in {**self.broken, **other.broken}.items()
                       if not any(test.startswith(f"{file}::") for test in self.tests)}
        self.num_jobs += other.num_jobs
        self.seconds += other.seconds
        return self

    def give_up(self, why: str, files: Sequence[str]) -> None:
        """Let what is left count as not run: tests, or files of which no test is known yet."""
        self.tests |= {test: Result("not run", why) for test in self.left}
        if not self.tests:
            self.broken |= {file: Result("not run", why) for file in files if file not in self.broken}

    def summary(self) -> str:
        """One line for people."""
        hows = Counter(result.how for result in (*self.tests.values(), *self.broken.values()))
        return ", ".join(f"{number} {how}" for how, number in hows.items()) + (
            f" in {self.num_jobs} jobs and {self.seconds:.0f} s")

    def write(self, path: Path) -> None:
        """Write it, at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps({**asdict(self), "left": []}, indent=1))
        new.replace(path)

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what :meth:`write` wrote."""
        return cls.from_dict(json.loads(path.read_text()))

    @classmethod
    def from_dict(cls, values: dict) -> Report:
        """Make one of what ``dataclasses.asdict`` made of it."""
        for name in ("tests", "broken"):
            values[name] = {test: Result(**result) for test, result in values[name].items()}
        return cls(**values)
