"""The processes of one launch, found by the mark in their environment, and the ranks among them watched.

Run as a file, with a launch's mark as its argument, this is the keeper: it waits on its standard input, and ends the
launch when that closes without a word, which means that the launcher itself was killed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

MARK = "MFUGAKU_LAUNCH_ID"
RANK_VARIABLES = (b"OMPI_COMM_WORLD_RANK", b"PMI_RANK", b"PMIX_RANK")


def read_environ(pid: int) -> dict[bytes, bytes]:
    """Return a process's environment at its start; empty when it has ended or is not ours."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(item.split(b"=", 1) for item in data.split(b"\0") if b"=" in item)


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False


def list_pids() -> list[int]:
    """Return the ids of all processes that are visible."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def find_launched(launch_id: str) -> list[int]:
    """Return the running processes that carry ``launch_id``, whatever session or parent they have now."""
    mark = launch_id.encode()
    return [pid for pid in list_pids() if read_environ(pid).get(MARK.encode()) == mark and _is_running(pid)]


def end_launched(launch_id: str, term_s: float = 2.0, kill_s: float = 3.0) -> list[int]:
    """End every process of a launch: SIGTERM, ``term_s`` later SIGKILL; return those still there ``kill_s`` after."""
    for number, wait_s in ((signal.SIGTERM, term_s), (signal.SIGKILL, kill_s)):
        left = find_launched(launch_id)
        for pid in left:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + wait_s
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = [pid for pid in left if _is_running(pid)]
    return find_launched(launch_id)


class Keeper:
    """A process that outlives a launcher killed by SIGKILL, and ends what it launched; a context manager."""

    def __init__(self, launch_id: str):
        self._process = subprocess.Popen([sys.executable, "-S", "-E", "-P", __file__, launch_id], stdin=subprocess.PIPE,
                                         stdout=subprocess.DEVNULL, start_new_session=True)

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *exception: object) -> None:
        """Tell the keeper that the launcher has cleaned up itself."""
        self._process.communicate(b"done")


def keep(launch_id: str) -> None:
    """Wait for the launcher's word or its end; in the second case end its processes."""
    if sys.stdin.buffer.read() != b"done":
        end_launched(launch_id)


class RankWatcher(threading.Thread):
    """Keeps the table of rank processes and notes which of them ended first.

    mpirun's words are the better source (they tell how); this one knows the rank where Hydra tells only a process id
    or nothing.
    """

    def __init__(self, launch_id: str):
        super().__init__(name="rank-watcher", daemon=True)
        self.rank_of_pid: dict[int, int] = {}
        self.first_ended: int | None = None
        self._mark = launch_id.encode()
        self._seen: set[int] = set()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join(timeout=2.0)

    def _scan(self) -> list[int]:
        new = []
        alive = set(list_pids())
        for pid in sorted(alive - self._seen):
            environ = read_environ(pid)
            if environ.get(MARK.encode()) != self._mark:
                # A process between fork and exec still shows its parent's environment: look at young ones again.
                continue
            rank = next((environ[name] for name in RANK_VARIABLES if name in environ), None)
            if rank is not None and _parent(pid) not in self.rank_of_pid:
                self.rank_of_pid[pid] = int(rank)
                self._seen.add(pid)
                new.append(pid)
        self._seen &= alive
        return new

    def run(self) -> None:
        """Watch until stopped."""
        poll, descriptors = select.poll(), {}
        started = time.monotonic()
        try:
            while not self._stopped.is_set() and self.first_ended is None:
                for pid in self._scan():
                    try:
                        descriptor = os.pidfd_open(pid)
                    except OSError:
                        continue
                    descriptors[descriptor] = pid
                    poll.register(descriptor, select.POLLIN)
                young = time.monotonic() - started < 5.0
                for descriptor, _ in poll.poll(50 if young else 1000):
                    self.first_ended = self.rank_of_pid[descriptors[descriptor]]
                    break
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


if __name__ == "__main__":
    keep(sys.argv[1])
