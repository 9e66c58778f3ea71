"""Lanes that a placement file gives to groups; the ranks do not share memory."""

from __future__ import annotations

import torch
import torch.distributed as dist
from collectives import aliased_reduce_scatter_and_all_gather, rank, size, uneven_all_gather, uneven_reduce_scatter
from contributions import fill

import megatron_fugaku.comm as comm

# 6 ranks: the group of all is the tensor-parallel one of the map, on 3x2 with turns.
SHAPE, SHORT, LONG = "3x2", 100, 60_003


def ways_of_collectives(group: dist.ProcessGroup, ranks: list[int], count: int) -> set[str]:
    """Carry out one of each kind, check every element, and return by which ways they went."""
    comm.drain_trace()
    comm.set_tracing(True)
    rows = [fill(r, (len(ranks), count), torch.int32) for r in ranks]
    own = ranks.index(rank())
    whole = rows[own].clone()
    dist.all_reduce(whole, group=group)
    assert torch.equal(whole, sum(rows))
    piece = torch.empty(count, dtype=torch.int32)
    dist.reduce_scatter_tensor(piece, rows[own].flatten(), group=group)
    assert torch.equal(piece, sum(row[own] for row in rows))
    gathered = torch.empty(len(ranks), count, dtype=torch.int32)
    dist.all_gather_into_tensor(gathered, rows[own][0].contiguous(), group=group)
    assert torch.equal(gathered, torch.stack([row[0] for row in rows]))
    comm.set_tracing(False)
    return {event.way for event in comm.drain_trace() if event.group_name == group.group_name}


def long_vectors_go_by_the_lanes_of_the_file() -> None:
    ranks = list(range(size()))
    found = ways_of_collectives(dist.group.WORLD, ranks, LONG)
    assert found == {f"lanes:{SHAPE}"}, found
    assert f"lanes:{SHAPE}" not in ways_of_collectives(dist.group.WORLD, ranks, SHORT)


def every_length_of_blocks() -> None:
    uneven_reduce_scatter()
    uneven_all_gather()
    aliased_reduce_scatter_and_all_gather()
    for dtype in (torch.float32, torch.bfloat16):
        tensor = fill(rank(), (300_007,), dtype)
        dist.all_reduce(tensor)
        expected = sum(fill(r, (300_007,), dtype).double() for r in range(size()))
        torch.testing.assert_close(tensor.double(), expected, rtol=2**-7 if dtype.itemsize == 2 else 1e-5, atol=2e-2)


def other_groups_have_none() -> None:
    halves = [dist.new_group(ranks) for ranks in ([0, 1, 2], [3, 4, 5])]
    own = rank() // 3
    ways = ways_of_collectives(halves[own], [3 * own + i for i in range(3)], LONG)
    assert not [way for way in ways if "lanes" in way]


checks_to_run = (
    long_vectors_go_by_the_lanes_of_the_file,
    every_length_of_blocks,
    other_groups_have_none,
)
