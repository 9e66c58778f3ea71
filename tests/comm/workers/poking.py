"""Communication gets on while a rank does nothing but compute."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.kernels.bias_gelu import bias_gelu
from megatron_fugaku.kernels.dropout import bias_dropout_add
from megatron_fugaku.kernels.extension import call_between_tiles

#: More than a rank can hand over when it begins, by whatever way.
ELEMENTS = 8 << 20


def _compute_until(are_done: list[Path], limit_s: float) -> bool:
    """Return whether all the files came in time; nothing here calls the backend."""
    x, bias = torch.randn(64, 16384), torch.randn(16384)
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        bias_gelu(x, bias)
        bias_dropout_add(x, bias, x, 0.1)
        if all(path.exists() for path in are_done):
            return True
    return False


def _others_end_while_rank_0_computes(limit_s: float, compute_until: Callable[..., bool] = _compute_until) -> bool:
    """All begin an all-reduce; rank 0 computes on, the others wait for its end and say so in files. Alike on all."""
    folder = [tempfile.mkdtemp()]
    dist.broadcast_object_list(folder)
    own, began, *ended = [Path(folder[0], name) for name in (
        str(dist.get_rank()), "began", *map(str, range(1, dist.get_world_size())))]
    tensor = torch.full((ELEMENTS,), 1.0)
    # Rank 0 comes first: with the others at hand it would get to the end while it begins.
    while dist.get_rank() != 0 and not began.exists():
        time.sleep(0.01)
    work = dist.all_reduce(tensor, async_op=True)
    began.touch()
    have_ended = dist.get_rank() == 0 and compute_until(ended, limit_s)
    work.wait()
    own.touch()
    assert (tensor == dist.get_world_size()).all()
    verdict = [have_ended]
    dist.broadcast_object_list(verdict)
    return verdict[0]


def computing_carries_others_on() -> None:
    assert _others_end_while_rank_0_computes(limit_s=50)


def without_pokes_others_wait() -> None:
    call_between_tiles(0)
    assert not _others_end_while_rank_0_computes(limit_s=1)
    call_between_tiles(load_extension().poke_address())


def _let_a_child_compute_until(are_done: list[Path], limit_s: float) -> bool:
    child = os.fork()
    if child == 0:
        os._exit(_compute_until(are_done, limit_s))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def a_forked_child_leaves_communication_alone() -> None:
    assert not _others_end_while_rank_0_computes(1, _let_a_child_compute_until)


checks_to_run = (computing_carries_others_on, without_pokes_others_wait, a_forked_child_leaves_communication_alone)
