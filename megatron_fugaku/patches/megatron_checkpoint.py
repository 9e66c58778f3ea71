"""megatron-core's checkpoint writer without processes of its own: an MPI with RDMA memory does not survive forks."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import torch


class _CountQueue:
    """Stands for the joinable queue with which upstream's worker says that it is done."""

    def get(self) -> None:
        """There is no other worker to wait for."""

    def task_done(self) -> None:
        """There is no other worker to tell."""


def build_results_queue(original: Callable) -> Callable:
    """Return ``get_write_results_queue`` with a queue of this process; upstream starts a manager process for it."""
    results: queue.Queue = queue.Queue()

    def get_write_results_queue(mp_mode: str = "spawn") -> queue.Queue:
        return results

    return get_write_results_queue


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


class WriterThread(threading.Thread):
    """Stands for the process that writes a checkpoint while training goes on."""

    def kill(self) -> None:
        """Wait for the end: a thread cannot be ended, and what is half written is not named as a checkpoint."""
        self.join()


def own(thing: Any) -> Any:
    """Return nested tuples, lists and dictionaries with copies of the tensors in them, which training changes while
    they are written; a forked process would have its own memory, and a GPU's would have been copied to the host."""
    if isinstance(thing, torch.Tensor):
        return thing.detach().clone()
    if isinstance(thing, dict):
        return {key: own(value) for key, value in thing.items()}
    if type(thing) in (list, tuple):
        return type(thing)(own(value) for value in thing)
    return thing


def build_schedule_call(original: Callable) -> Callable:
    """Return ``TemporalAsyncCaller.schedule_async_call`` that writes in a thread. It takes as much memory more as what
    this rank writes, until that is written."""

    def schedule_async_call(self: Any, async_req: Any) -> None:
        """Start to write a checkpoint; on all ranks."""
        if async_req.async_fn is None:
            return
        arguments = list(async_req.async_fn_args)
        if async_req.preload_fn:
            arguments[1] = async_req.preload_fn()
        self.start_time = time.time()
        self.process = WriterThread(target=async_req.async_fn, args=own(arguments), kwargs=async_req.async_fn_kwargs)
        self.process.start()

    return schedule_async_call


def build_get_caller(original: Callable) -> Callable:
    """Return ``AsyncCallsQueue._get_async_caller`` that starts no persistent worker: a process would have to be sent
    tensors through memory that it shares with this one, where training changes them."""

    def _get_async_caller(self: Any) -> Any:
        from megatron.core.dist_checkpointing.strategies.async_utils import TemporalAsyncCaller

        return TemporalAsyncCaller()

    return _get_async_caller
