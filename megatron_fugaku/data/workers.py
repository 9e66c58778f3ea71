"""A bounded, ordered map over worker processes: the result does not depend on how many there are."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from megatron_fugaku.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool:
    """Spawned processes that are started at the first use and end with this process, however it ends.

    Args:
        num_workers: how many; None for the number of CPUs this process may use. With one, everything runs here.
    """

    def __init__(self, num_workers: int | None = None):
        self.num_workers = num_workers or len(os.sched_getaffinity(0))
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """``map(function, items)``, in order; at most ``3 * num_workers`` items are in flight.

        Raises:
            DataError: a worker died.
            Exception: whatever ``function`` raised.
        """
        if self.num_workers <= 1:
            yield from map(function, items)
            return
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.num_workers, mp_context=context, initializer=_end_with_parent)
        pending: deque = deque()
        try:
            for item in items:
                pending.append(self._executor.submit(function, item))
                if len(pending) >= 3 * self.num_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                f"one of {self.num_workers} worker processes died",
                "its part of the data is missing, so nothing of this stage was kept",
                "it was most likely killed for memory: run again with --workers 1",
                "--workers",
            ) from error
        finally:
            for future in pending:
                future.cancel()


def _end_with_parent() -> None:
    """End this worker as soon as its parent is gone, also when that was killed."""
    sentinel = multiprocessing.parent_process().sentinel

    def watch() -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
