"""Tensors that collectives among the ranks of one node need not copy.

Every process has one arena: memory that the other ranks of its node see as well. Where the tensors of all members of a
group lie in their arenas, ``all_reduce``, ``reduce_scatter_tensor`` and ``all_gather_into_tensor`` read them (for the
gather and the scatter: their inputs) where they lie. Elsewhere these are tensors like all others. The arena takes
memory from the machine as it is used and gives large blocks back.

A forked child shares this memory with its parent instead of getting a copy: it must not write to it.
"""

from __future__ import annotations

import functools
import sys

import torch

from megatron_fugaku.comm.extension import load_extension


@functools.cache
def _say_that_there_is_none(reason: str) -> None:
    print(f"mfugaku: there is no memory to share with the ranks of this node: {reason}. Tensors made for it are "
          "ordinary ones, and collectives copy them. Let the process have it, or do without.", file=sys.stderr,
          flush=True)


def empty(*shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return an uninitialised CPU tensor in the arena, aligned to a page.

    Where the machine gives no such memory, it is an ordinary tensor, and that is said once.

    Args:
        shape: lengths of the dimensions.
        dtype: None takes torch's default.
    """
    size = torch.Size(shape)
    like = torch.empty(0, dtype=dtype)
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
