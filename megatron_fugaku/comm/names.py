"""A group that a script asked for as "mpi" answers to that name.

torch knows it as ``mfugaku``, and must: of a group called "mpi" it would expect its own backend, which no wheel has.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

BACKEND = "mfugaku"

_called_mpi: weakref.WeakSet[dist.ProcessGroup] = weakref.WeakSet()


def is_called_mpi(group: dist.ProcessGroup | None) -> bool:
    """Return whether a group, the default group for None, was asked for as "mpi"."""
    group = dist.group.WORLD if group is None else group
    return isinstance(group, dist.ProcessGroup) and group in _called_mpi


def call_mpi(group: dist.ProcessGroup) -> None:
    """Let a group of our backend alone be called "mpi", in Python and in what DDP and the profiler say of it."""
    kind = dist.ProcessGroup.BackendType.MPI
    group._register_backend(torch.device("cpu"), kind, group._get_backend(torch.device("cpu")))
    group._set_default_backend(kind)
    _called_mpi.add(group)


def wrap_get_backend(original: Callable) -> Callable:
    """Return ``torch.distributed.get_backend`` that says "mpi" of such groups."""

    @functools.wraps(original)
    def get_backend(group: dist.ProcessGroup | None = None) -> str:
        name = original(group)
        return dist.Backend.MPI if name == BACKEND and is_called_mpi(group) else name

    return get_backend


def wrap_monitored_barrier(original: Callable) -> Callable:
    """Return ``torch.distributed.monitored_barrier``, which refuses all but gloo by name, for our groups as well."""

    @functools.wraps(original)
    def monitored_barrier(group: dist.ProcessGroup | None = None, timeout: Any = None,
                          wait_all_ranks: bool = False) -> None:
        if c10d._rank_not_in_group(group) or c10d._world.pg_map[_or_default(group)][0] != BACKEND:
            return original(group, timeout, wait_all_ranks)
        if timeout is None:
            timeout = c10d.default_pg_timeout
        elif not isinstance(timeout, timedelta):
            timeout = timedelta(seconds=timeout)
        return _or_default(group).monitored_barrier(timeout, wait_all_ranks=wait_all_ranks)

    return monitored_barrier


def _or_default(group: dist.ProcessGroup | None) -> dist.ProcessGroup:
    return c10d._get_default_group() if group is None else group
