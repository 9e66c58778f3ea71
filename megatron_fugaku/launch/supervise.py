"""Run mpirun, pass its output on, and end every rank in bounded time when one dies or a signal arrives."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from megatron_fugaku.errors import LaunchError
from megatron_fugaku.launch.failure import RankFailure, failure_from_status, parse_failure
from megatron_fugaku.launch.processes import MARK, Keeper, RankWatcher, end_launched

GRACE_S = 5.0
_TAIL_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Outcome:
    """How a supervised job ended: exactly as it should when ``failure`` and ``interrupted_by`` are None."""

    returncode: int
    duration_s: float
    failure: RankFailure | None = None
    interrupted_by: int | None = None
    survivors: tuple[int, ...] = ()


class _Pump(threading.Thread):
    """Copies one pipe to one file descriptor unchanged, and keeps its end for reading mpirun's words."""

    def __init__(self, source: int, target: int):
        super().__init__(daemon=True)
        self._source, self._target = source, target
        self._tail, self._lock = bytearray(), threading.Lock()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self._source, 65536):
                with self._lock:
                    self._tail += chunk
                    del self._tail[:-_TAIL_BYTES]
                view = memoryview(chunk)
                while view:
                    try:
                        view = view[os.write(self._target, view):]
                    except BrokenPipeError:
                        break  # Nobody reads us any more; the ranks must not block on a full pipe.

    @property
    def tail(self) -> str:
        with self._lock:
            return self._tail.decode(errors="replace")


def _end_with_parent(libc: ctypes.CDLL) -> None:
    """In the child: mpirun gets SIGTERM when the launcher itself is killed."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def supervise(argv: Sequence[str], environ: Mapping[str, str], grace_s: float = GRACE_S) -> Outcome:
    """Run ``argv`` (an mpirun) to its end.

    Standard output and error of the ranks appear on ours as they come. SIGINT and SIGTERM are passed on; a second one,
    or ``grace_s`` seconds, turns them into SIGKILL. When mpirun reports a dead rank it gets ``grace_s`` seconds to end
    the others before they are killed. Whatever is left once mpirun has gone is ended too.

    Raises:
        LaunchError: ``argv`` cannot be started.
    """
    launch_id = secrets.token_hex(8)
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            list(argv), env={**environ, MARK: launch_id}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True, preexec_fn=lambda: _end_with_parent(libc))
    except OSError as error:
        raise LaunchError(f"{argv[0]} could not be started: {error.strerror}", "no rank was started",
                          "check the path", str(argv[0])) from error
    pumps = (_Pump(process.stdout.fileno(), 1), _Pump(process.stderr.fileno(), 2))
    watcher = RankWatcher(launch_id)
    received: list[int] = []
    deadline: float | None = None
    with Keeper(launch_id), _forward_signals(process, received):
        for thread in (*pumps, watcher):
            thread.start()
        while True:
            try:
                process.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                pass
            if deadline is None and (received or _find_failure(pumps, watcher)):
                deadline = time.monotonic() + grace_s
            if deadline is not None and (len(received) > 1 or time.monotonic() > deadline):
                process.kill()
        # A process that outlived mpirun holds the pipes open: end it before waiting for their end.
        survivors = end_launched(launch_id)
        for pump in pumps:
            pump.join(timeout=1.0)
        watcher.stop()
    process.stdout.close()
    process.stderr.close()
    failure = None
    if process.returncode != 0 and not received:
        failure = _find_failure(pumps, watcher) or failure_from_status(process.returncode, watcher.first_ended)
    return Outcome(process.returncode, time.monotonic() - started, failure, received[0] if received else None,
                   tuple(survivors))


def _find_failure(pumps: Sequence[_Pump], watcher: RankWatcher) -> RankFailure | None:
    # Open MPI reports on stderr, Hydra on stdout.
    return next((found for pump in pumps[::-1] if (found := parse_failure(pump.tail, watcher.first_ended))), None)


@contextlib.contextmanager
def _forward_signals(process: subprocess.Popen, received: list[int]):
    """Pass SIGINT, SIGTERM and SIGHUP on to ``process`` and note them; SIGUSR1 and SIGUSR2 are passed on only."""

    def note(number: int, frame: object) -> None:
        received.append(number)
        process.send_signal(number)

    def pass_on(number: int, frame: object) -> None:
        process.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGINT: note, signal.SIGTERM: note, signal.SIGHUP: note,
                signal.SIGUSR1: pass_on, signal.SIGUSR2: pass_on}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
