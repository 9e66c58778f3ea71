"""megatron-core's checkpoint writer without forked processes."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any


class _CountQueue:
    """Stands for the joinable queue with which upstream's worker says that it is done."""

    def get(self) -> None:
        """There is no other worker to wait for."""

    def task_done(self) -> None:
        """There is no other worker to tell."""


def build_results_queue(original: Callable) -> Callable:
    """Return ``_get_write_results_queue`` with a queue of this process; upstream starts a manager process for it."""
    results: queue.Queue = queue.Queue()

    def _get_write_results_queue() -> queue.Queue:
        return results

    return _get_write_results_queue


def build_writer(original: Callable) -> Callable:
    """Return ``write_preloaded_data_multiproc`` that writes one bucket after the other in this process."""

    def write_preloaded_data_multiproc(transform_list: list, use_msc: bool, rank: int, write_buckets: list,
                                       global_results_queue: queue.Queue) -> None:
        from megatron.core.dist_checkpointing.strategies.filesystem_async import FileSystemWriterAsync

        results: Any = {}
        local: queue.Queue = queue.Queue()
        for index, bucket in enumerate(write_buckets):
            FileSystemWriterAsync.write_preloaded_data(transform_list, index, bucket, local, _CountQueue(), True,
                                                       use_msc=use_msc)
            _, written = local.get()
            if isinstance(written, Exception):
                results = written
                break
            results[index] = written
        global_results_queue.put(results)

    return write_preloaded_data_multiproc
