"""What the backend was built with, and what its operations cost."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist

from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.errors import CommError


class GroupStatistics(NamedTuple):
    """Totals of one operation on one process group.

    ``group_name`` is torch's name of the group (``group.group_name``). ``num_bytes`` sums this rank's payload: the
    tensor of all_reduce, reduce, broadcast, gather, scatter, send and recv, the whole gathered output of all_gather,
    the whole input of reduce_scatter and all_to_all. ``wait_s`` is the time this host spent inside the backend for it.
    """

    group_name: str
    operation: str
    num_calls: int
    num_bytes: int
    wait_s: float


class TraceEvent(NamedTuple):
    """One operation; times in seconds of ``time.monotonic`` and ``time.perf_counter``.

    ``start_s`` is the call, ``wait_start_s`` when somebody first waited for it (``end_s`` if nobody did in time),
    ``end_s`` when it was found complete. ``sequence`` counts the group's collectives, and its messages apart, from 1.
    ``way`` is what carried it: ``MPI`` or the name of an algorithm between nodes; ``shared memory`` within a node, or
    for longer tensors ``arena``, read where they lie in it, ``remote reads``, out of the other processes, or ``slots``.
    """

    group_name: str
    operation: str
    sequence: int
    num_bytes: int
    start_s: float
    wait_start_s: float
    end_s: float
    way: str


def build_info() -> dict[str, str]:
    """Return mpi_vendor, mpi_version, mpi_standard, mpi_compiler, compiler and torch_version of the build.

    Raises:
        EnvironmentError: the extension is missing or does not fit this torch.
    """
    return dict(load_extension().build_facts())


def mpi_library_version() -> str:
    """Return what the loaded MPI library says about itself; MPI need not be initialised."""
    return load_extension().mpi_library_version()


def transport_of(group: dist.ProcessGroup) -> str:
    """Return what carries the group's reductions and gathers: ``shared memory`` or ``MPI``.

    Raises:
        CommError: the group is of another backend.
    """
    backend = group._get_backend(torch.device("cpu"))
    if not isinstance(backend, load_extension().MpiBackend):
        raise CommError(f"group {group.group_name} is of the backend {backend.name()}",
                        "only the MPI backend has a transport", "give a group of the MPI backend")
    return backend.transport


def algorithms() -> list[str]:
    """Return the rules that choose algorithms of collectives between nodes, of which the first that fits decides.

    Those of MFUGAKU_COMM_ALGORITHM stand before those of MFUGAKU_COMM_TABLE; where none fits, a model of what each
    algorithm takes decides.
    """
    return list(load_extension().algorithms())


def statistics() -> list[GroupStatistics]:
    """Return the totals per group and operation since the start or :func:`reset_statistics`."""
    return [GroupStatistics(*row) for row in load_extension().statistics()]


def reset_statistics() -> None:
    """Set all totals to zero."""
    load_extension().reset_statistics()


def set_tracing(on: bool) -> None:
    """Start or stop recording a :class:`TraceEvent` per operation; at most the latest 65,536 are kept."""
    load_extension().set_tracing(on)


def drain_trace() -> list[TraceEvent]:
    """Return the recorded events in the order in which they ended, and forget them."""
    return [TraceEvent(*row) for row in load_extension().drain_trace()]
