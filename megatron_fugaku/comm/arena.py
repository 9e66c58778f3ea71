"""Tensors that collectives among the ranks of one node need not copy.

Every process has one arena: memory that the other ranks of its node see as well. Where the tensors of all members of a
group lie in their arenas, ``all_reduce``, ``reduce_scatter_tensor`` and ``all_gather_into_tensor`` read them (for the
gather and the scatter: their inputs) where they lie. Elsewhere these are tensors like all others. The arena takes
memory from the machine as it is used, near the core that first writes it, and gives most of it back.

Tensors come into it one by one (:func:`empty`), or because torch makes them there (:func:`allocating`;
``MFUGAKU_COMM_ARENA=all`` for all large tensors of an unmodified script). That takes the place of torch's allocator of
CPU memory by torch's own means, ``c10::SetCPUAllocator``; where the arena has no room, the allocator before it goes on.

A forked child has a copy of this memory: what it writes stays its own, but where it has written nothing it sees what
its parent writes later.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator

import torch

from megatron_fugaku import environment
from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.environment import ArenaUse

#: Collectives of shorter tensors do not ask where these lie.
MIN_BYTES = 64 * 1024
_NONE = -1


@functools.cache
def _say_that_there_is_none(reason: str) -> None:
    print(f"mfugaku: there is no memory to share with the ranks of this node: {reason}. Tensors made for it are "
          "ordinary ones, and collectives copy them. Let the process have it, or do without: MFUGAKU_COMM_ARENA=off.",
          file=sys.stderr, flush=True)


@functools.cache
def prepare() -> str:
    """Make the arena of this process, if that is wanted; return why there is none, or ``""``."""
    if _use() is ArenaUse.OFF:
        return "MFUGAKU_COMM_ARENA is off"
    return load_extension().arena_open(environment.get("MFUGAKU_COMM_ARENA_BYTES"))


def _use() -> ArenaUse:
    return environment.get("MFUGAKU_COMM_ARENA")


def empty(*shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return an uninitialised CPU tensor in the arena, aligned to a page.

    Where the machine gives no such memory, it is an ordinary tensor, and that is said once.

    Args:
        shape: lengths of the dimensions.
        dtype: None takes torch's default.
    """
    size = torch.Size(shape)
    like = torch.empty(0, dtype=dtype)
    if _use() is ArenaUse.OFF:
        return like.new_empty(size)
    prepare()
    try:
        return load_extension().arena_empty(size.numel(), like).view(size)
    except (RuntimeError, MemoryError) as error:
        _say_that_there_is_none(str(error).partition("\n")[0])
        return like.new_empty(size)


def zeros(*shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return :func:`empty` with zeros in it."""
    return empty(*shape, dtype=dtype).zero_()


def holds(tensor: torch.Tensor) -> bool:
    """Whether the tensor's memory lies in the arena of this process."""
    return load_extension().arena_holds(tensor)


def is_shared() -> bool:
    """Whether another rank of this node can see this arena: a group within the node has been made."""
    return load_extension().arena_is_shared()


@contextlib.contextmanager
def allocating(min_bytes: int = MIN_BYTES) -> Iterator[None]:
    """Let torch make this thread's new CPU tensors in the arena while the body runs.

    Does nothing where no other rank could see them, or where MFUGAKU_COMM_ARENA is off. Tensors for which there is no
    room are ordinary ones.

    Args:
        min_bytes: shorter tensors are made as ever.
    """
    if _use() is ArenaUse.OFF or not is_shared():
        yield
        return
    before = load_extension().arena_place(min_bytes, this_thread_alone=True)
    try:
        yield
    finally:
        load_extension().arena_place(before, this_thread_alone=True)


def place_tensors(min_bytes: int | None = MIN_BYTES) -> None:
    """Let torch make all new CPU tensors of at least ``min_bytes`` in the arena from now on; None: no longer."""
    load_extension().arena_place(_NONE if min_bytes is None else min_bytes, this_thread_alone=False)


def place_tensors_if_wanted() -> None:
    """Call :func:`place_tensors` where MFUGAKU_COMM_ARENA says so and another rank can see them."""
    if _use() is ArenaUse.ALL and is_shared():
        place_tensors()
