"""What mpirun says when a rank dies, understood: which rank, and how it ended."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class RankFailure:
    """How a job failed: ``rank`` is None when unknown; of ``signal_number`` and ``exit_code`` at most one is set."""

    rank: int | None
    signal_number: int | None = None
    exit_code: int | None = None
    is_abort: bool = False

    def explain(self) -> str:
        """Return for example ``rank 2 was killed by signal 9 (SIGKILL)``."""
        who = "a rank" if self.rank is None else f"rank {self.rank}"
        if self.signal_number is not None:
            try:
                name = signal.Signals(self.signal_number).name
            except ValueError:
                name = "unknown"
            return f"{who} was killed by signal {self.signal_number} ({name})"
        if self.is_abort:
            return f"{who} aborted the job with code {self.exit_code}"
        if self.exit_code is not None:
            return f"{who} ended with exit code {self.exit_code}"
        return f"{who} ended early"


# Open MPI 4 says "mpirun", Open MPI 5 "prterun"; both wrap lines at about 75 columns.
_ABORTS = (
    re.compile(r"MPI_ABORT was invoked on rank\s+(?P<rank>\d+)\s+in\s+communicator.*?errorcode\s+(?P<code>-?\d+)",
               re.S),
    re.compile(r"MPI_Abort\(\S+\s*(?P<code>-?\d+)\) - process (?P<rank>\d+)"),
)
_SIGNALS = (re.compile(r"process\s+rank\s+(?P<rank>\d+)\s+with\s+PID\s+\d+\s+on\s+node\s+\S+\s+exited\s+on\s+signal\s+"
                       r"(?P<signal>\d+)"),)
_EXITS = (re.compile(r"Process\s+name:\s+\[.*?,(?P<rank>\d+)\]\s+Exit\s+code:\s+(?P<code>\d+)"),)
# Hydra names a process, some versions a rank.
_HYDRA = re.compile(r"BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\s*=\s+(?:RANK (?P<rank>\d+) )?PID \d+ "
                    r"RUNNING AT \S+\s*=\s+(?:EXIT CODE: (?P<code>\d+)|KILLED BY SIGNAL: (?P<signal>\d+))")


def parse_failure(text: str, first_ended: int | None = None) -> RankFailure | None:
    """Return the first failure that mpirun reports in ``text``; None when it reports none.

    Args:
        text: what mpirun and the ranks wrote.
        first_ended: the rank that was seen to end first. Hydra without ranks in its message names the process of the
            lowest rank that ended badly, and that may be one it ended itself.
    """
    for pattern in _ABORTS:
        if found := pattern.search(text):
            return RankFailure(int(found["rank"]), exit_code=int(found["code"]), is_abort=True)
    for pattern in _SIGNALS:
        if found := pattern.search(text):
            return RankFailure(int(found["rank"]), signal_number=int(found["signal"]))
    for pattern in _EXITS:
        if found := pattern.search(text):
            return RankFailure(int(found["rank"]), exit_code=int(found["code"]))
    if found := _HYDRA.search(text):
        rank = int(found["rank"]) if found["rank"] else first_ended
        if found["signal"]:
            return RankFailure(rank, signal_number=int(found["signal"]))
        # Hydra prints the wait status: 1..127 is a signal when the exit string below says so.
        if told := re.search(r"EXIT STRING: .*\(signal (\d+)\)", text):
            return RankFailure(rank, signal_number=int(told[1]))
        return RankFailure(rank, exit_code=int(found["code"]))
    return None


def failure_from_status(returncode: int, rank: int | None) -> RankFailure:
    """Return what mpirun's own exit status tells when its words did not."""
    if returncode < 0:
        return RankFailure(rank, signal_number=-returncode)
    if 128 < returncode < 128 + 65:
        return RankFailure(rank, signal_number=returncode - 128)
    return RankFailure(rank, exit_code=returncode)
