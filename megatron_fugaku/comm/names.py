"""A group of our backend answers to the name by which a script asked for it: "mpi", and others where that is wanted.

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

_called: weakref.WeakKeyDictionary[dist.ProcessGroup, str] = weakref.WeakKeyDictionary()
#: Names that ask for this backend. "mpi" always does; see :func:`answer_to`.
_answered = {"mpi"}


def answer_to(*names: str) -> None:
    """Let groups that are asked for as any of these backends be of ours: for programs that were written for GPUs, and
    for CPUs without MPI. A program that asks for no backend gets ours then, too."""
    _answered.update(names)


def is_answered(name: Any) -> bool:
    """Return whether a name alone, such as "mpi", asks for this backend."""
    return isinstance(name, str) and name.lower() in _answered


def translated(backend: Any) -> Any:
    """Return a ``backend`` argument with our name in place of those that ask for us; anything else as it is.

    Of ``"cpu:gloo,cuda:nccl"`` the part for CUDA devices, which are not there, is left out where "nccl" is answered.
    """
    if not isinstance(backend, str):
        return backend
    parts = [part.partition(":") for part in backend.lower().split(",")]
    kept = [part for part in parts if not (part[0] == "cuda" and part[2] in _answered)]
    if not kept:
        return BACKEND
    return ",".join(
        f"{device}:{BACKEND if name in _answered else name}" if colon else BACKEND if device in _answered else device
        for device, colon, name in kept
    )


def called(wish: str) -> str:
    """Return the name to which a group answers that was asked for by ``wish``: that, but "mpi" for "nccl". Of a group
    called so, torch itself wants to know the version of NCCL."""
    return "mpi" if wish.lower() == "nccl" else wish.lower()


def default_backend() -> str | None:
    """Return our name where a program that asks for no backend shall have ours, else None."""
    return BACKEND if "gloo" in _answered else None


def name_of(group: dist.ProcessGroup | None) -> str | None:
    """Return the name by which a group, the default group for None, was asked for; None if that is our own."""
    group = dist.group.WORLD if group is None else group
    return _called.get(group) if isinstance(group, dist.ProcessGroup) else None


def call(group: dist.ProcessGroup, name: str) -> None:
    """Let a group of our backend alone be called by a name, in Python and, if that is "mpi", in what DDP and the
    profiler say of it."""
    if name == "mpi":
        kind = dist.ProcessGroup.BackendType.MPI
        group._register_backend(torch.device("cpu"), kind, group._get_backend(torch.device("cpu")))
        group._set_default_backend(kind)
    _called[group] = name


def wrap_get_backend(original: Callable) -> Callable:
    """Return ``torch.distributed.get_backend`` that says the name by which a group was asked for."""

    @functools.wraps(original)
    def get_backend(group: dist.ProcessGroup | None = None) -> str:
        name = original(group)
        return name_of(group) or name if name == BACKEND else name

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
