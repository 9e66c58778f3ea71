"""Runs unit tests of an upstream, unmodified, under ``mpirun -n N mfugaku run -m pytest``, folder by folder.

    python tests/upstream/run_upstream.py --checkout MEGATRON_LM --results FOLDER --ranks 2 tests/unit_tests

The files of one folder are one job, as in upstream's own CI. A test that hangs, crashes, or ends otherwise on one rank
than on others ends the job; the next one goes on behind it. FOLDER keeps what the ranks reported, so that a second call
goes on where the first was ended, and ``results.py`` makes the table of it. Needs what upstream's tests import.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from mpi_helpers import mpi_environment, mpirun_command  # noqa: E402
from upstream.reports import TIME_IS_UP, Report, read_job  # noqa: E402


@dataclass(frozen=True)
class Limits:
    """Seconds: for one test, for a folder, for ranks that report nothing, and for a collective."""

    test_s: float = 120
    folder_s: float = 1800
    silence_s: float = 180
    collective_s: float = 30


@dataclass
class Job:
    """Files of tests on a number of ranks."""

    checkout: Path
    files: Sequence[str]
    num_ranks: int
    folder: Path
    limits: Limits = field(default_factory=Limits)
    options: Sequence[str] = ()

    def command(self) -> list[str]:
        """The words that start it."""
        return [*mpirun_command(self.num_ranks), sys.executable, "-m", "megatron_fugaku", "run", "-m", "pytest", "-q",
                "--tb=short", "--color=no", "--capture=fd", "--maxfail=0", "--continue-on-collection-errors",
                "-p", "no:cacheprovider", "-p", "rank_plugin", "-p", "deepspeed_plugin",
                f"--timeout={self.limits.test_s:g}", *self.options, *self.files]

    def environment(self) -> dict[str, str]:
        """The variables of its ranks."""
        path = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
        return mpi_environment({
            "PYTHONPATH": os.pathsep.join(entry for entry in path if entry), "UPSTREAM_TESTS_FOLDER": str(self.folder),
            "MFUGAKU_COMM_TIMEOUT_S": f"{self.limits.collective_s:g}",
            "DEEPSPEED_TIMEOUT": f"{math.ceil(self.limits.collective_s / 60)}",  # minutes
            # DeepSpeed's harness forks ranks, which then walk through sets in one order, and its tests rely on that.
            "PYTHONHASHSEED": "0",
            # The checkout stays as it is, and ranks do not compile it again in every job.
            "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self.folder.with_name("bytecode")),
        })

    def run(self) -> Report:
        """Run every test of the files, in as many jobs as it takes, and return how they ended."""
        report, began = Report(), time.monotonic()
        while True:
            left_s = self.limits.folder_s - (time.monotonic() - began)
            ending = self._run_once(report, left_s) if left_s > 0 else TIME_IS_UP
            job = read_job(self.folder)
            if ending == TIME_IS_UP and (job.collected is None or left_s <= 0):
                report.give_up(TIME_IS_UP, self.files)
                break
            if job.collected is None and not job.broken and len(self.files) > 1:
                # Something ends the ranks while files are imported: each for itself.
                for file in self.files:
                    report.merge(dataclasses.replace(self, files=[file]).run())
                break
            if not report.add(job, ending, self.files[0]):
                break
        report.seconds = round(time.monotonic() - began, 1)
        shutil.rmtree(self.folder, ignore_errors=True)
        return report

    def _run_once(self, report: Report, left_s: float) -> str:
        """Run one job; return how it ended, in words."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "done.json").write_text(json.dumps(list(report.tests)))
        with (self.folder / "output").open("w") as output:
            process = subprocess.Popen(self.command(), cwd=self.checkout, env=self.environment(), stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            try:
                how = self._wait(process, left_s)
            finally:
                if process.poll() is None:
                    end_group(process, 10)
        if how:
            return how
        return f"exit code {process.returncode}" + _last_words(self.folder / "output", process.returncode)

    def _wait(self, process: subprocess.Popen, left_s: float) -> str:
        began = since = time.monotonic()
        size = -1
        while process.poll() is None:
            now = time.monotonic()
            if now - began > left_s:
                return TIME_IS_UP
            new = sum(path.stat().st_size for path in self.folder.glob("rank_*.jsonl"))
            if new != size:
                size, since = new, now
            elif now - since > self.limits.silence_s:
                return f"nothing was reported for {self.limits.silence_s:g} s"
            time.sleep(0.2)
        return ""


def end_group(process: subprocess.Popen, seconds_to_end: float) -> None:
    """Ask the processes of a job to end, then force them."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(seconds_to_end)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_words(output: Path, code: int) -> str:
    """The line of a job's output that says most about its end; empty for pytest's own endings."""
    if code in (0, 1):
        return ""
    lines = output.read_text(errors="replace").splitlines()
    telling = [line for line in lines if re.search(r"Error|Exception|Timeout|exited on signal|Fatal", line)]
    return f": {telling[-1].strip()[:300]}" if telling else ""


def find_folders(checkout: Path, places: Sequence[str]) -> dict[str, list[str]]:
    """Return the test files below folders of the checkout, or the files themselves, by their folder in it."""
    folders: dict[str, list[str]] = {}
    for place in places:
        path = checkout / place
        files = [path] if path.is_file() else [*path.rglob("test_*.py"), *path.rglob("*_test.py")]
        if not files:
            raise SystemExit(f"{path} has no test files, so nothing can be run: name folders or files of the checkout")
        for file in sorted(files):
            found = folders.setdefault(str(file.parent.relative_to(checkout)), [])
            if str(file.relative_to(checkout)) not in found:
                found.append(str(file.relative_to(checkout)))
    return dict(sorted(folders.items()))


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("places", nargs="+", help="folders or files of tests in the checkout")
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="folder that keeps what was reported")
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--folder-limit", type=float, default=Limits.folder_s, metavar="S")
    parser.add_argument("--test-limit", type=float, default=Limits.test_s, metavar="S")
    parser.add_argument("--again", action="store_true", help="run folders that were run before, too")
    parser.add_argument("--option", action="append", default=[], help="of pytest")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the job in progress is ended
    limits = Limits(test_s=arguments.test_limit, folder_s=arguments.folder_limit)
    checkout, results = arguments.checkout.resolve(), arguments.results.resolve()
    for folder, files in find_folders(checkout, arguments.places).items():
        kept = results / f"ranks_{arguments.ranks}" / f"{folder.replace('/', '.')}.json"
        if kept.exists() and not arguments.again:
            continue
        job_folder = results / "jobs" / f"{kept.stem}.{arguments.ranks}"
        report = Job(checkout, files, arguments.ranks, job_folder, limits, arguments.option).run()
        if kept.exists():  # single files run again
            report = Report.read(kept).merge(report)
        report.write(kept)
        print(f"{folder}: {report.summary()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
