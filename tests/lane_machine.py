"""Lanes carried out without MPI: what every node of a group holds after every message, for thousands of nodes at once.

The reference for what plan/lanes.py promises: which blocks go where in which step. Contributions are integers that
wrap around, so a block that is missing, doubled or sent to the wrong node changes a sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from megatron_fugaku.plan.lanes import Lane, LanePlan
from megatron_fugaku.plan.pipeline import lane_phases


def sizes_of(plan: LanePlan) -> tuple[int, ...]:
    return tuple(dimension.size for dimension in plan.dimensions)


def iterate_steps(plan: LanePlan, lane: Lane, operation: str) -> Iterator[tuple[int, int, bool, int]]:
    """Yield (dimension, direction, whether it reduces, step within the ring) of a lane's messages, in order."""
    phases = lane_phases(lane.order, operation)
    reducing = len(phases) - len(lane.order) if operation == "all_reduce" else \
        len(phases) * (operation == "reduce_scatter")
    for number, index in enumerate(phases):
        direction = lane.directions[lane.order.index(index)]
        for step in range(plan.dimensions[index].size - 1):
            yield index, direction, number < reducing, step


class LaneMachine:
    """The nodes of one group during one lane: values of every block on every node, and the bytes they sent."""

    def __init__(self, plan: LanePlan, lane: Lane, seed: int = 0):
        """Give every node a contribution of its own to every block; a block for each node, numbered as they are."""
        self.plan, self.lane, self.sizes = plan, lane, sizes_of(plan)
        self.num_nodes = int(np.prod(self.sizes))
        random = np.random.default_rng(seed)
        self.values = random.integers(1, 1 << 62, size=self.sizes * 2, dtype=np.int64)
        axes = tuple(range(len(self.sizes)))
        self.total = self.values.sum(axis=axes)  # wraps around
        #: Shares of the lane's vector that each node has sent along (dimension, direction).
        self.sent: dict[tuple[int, int], np.ndarray] = {}
        self.holds = np.ones(self.sizes * 2, bool)

    def scatter(self) -> None:
        """Leave every node its own block of the sum alone, as a reduce-scatter does."""
        self.holds[:] = False
        self.holds.reshape(self.num_nodes, self.num_nodes)[np.diag_indices(self.num_nodes)] = True
        own = np.zeros_like(self.values).reshape(self.num_nodes, self.num_nodes)
        own[np.diag_indices(self.num_nodes)] = self.total.ravel()
        self.values = own.reshape(self.sizes * 2)

    def run(self, operation: str) -> None:
        """Carry out a collective, one step of all nodes after the other."""
        passed: list[int] = []
        previous = None
        for index, direction, reduces, step in iterate_steps(self.plan, self.lane, operation):
            if reduces and previous not in (None, index):
                passed.append(previous)
            previous = index
            # Towards a reduce-scatter the block of a node one further back leaves each step; the last to arrive is
            # its own. Towards an all-gather a node passes on what it got the step before, its own first.
            offset = -(step + 1) if reduces else -step
            narrowed = passed if reduces else \
                list(self.lane.order[: self.lane.order.index(index)])
            self._shift(index, direction, offset * direction, narrowed, reduces)

    def _shift(self, index: int, direction: int, offset: int, narrowed: list[int], reduces: bool) -> None:
        """Send, from every node to its neighbour along `index`, the blocks at `offset` from its own place there.

        Along `narrowed` dimensions only a node's own blocks are meant, along the others all.
        """
        num = len(self.sizes)
        places = np.indices(self.sizes, sparse=True)
        blocks = [np.arange(size).reshape([1] * (num + axis) + [size] + [1] * (num - 1 - axis))
                  for axis, size in enumerate(self.sizes)]
        own = [place.reshape(place.shape + (1,) * num) for place in places]
        meant = blocks[index] == (own[index] + offset) % self.sizes[index]
        for axis in narrowed:
            meant = meant & (blocks[axis] == own[axis])
        meant = np.broadcast_to(meant, self.values.shape)
        assert self.holds[meant].all(), "a node sends what it does not have"
        message = np.where(meant, self.values, 0)
        arrived, there = np.roll(message, direction, axis=index), np.roll(meant, direction, axis=index)
        if reduces:
            self.values = np.where(there, self.values + arrived, self.values)
            self.holds = self.holds & ~meant  # a partial sum that has been sent on is no one's result
        else:
            self.values = np.where(there, arrived, self.values)
            self.holds = self.holds | there
        count = meant.reshape(self.num_nodes, -1).sum(axis=1).reshape(self.sizes)
        key = index, direction
        self.sent[key] = self.sent.get(key, 0) + count / self.num_nodes
