"""Lanes: the parts into which a collective is cut so that every link of a group's box is busy all the time.

A lane takes a share of the vector through the axes of the box in one order: a ring reduce-scatter along the first, of
what is left along the second, and so on, then the all-gathers back. The more axes a vector has passed, the less of it
is left, so a lane loads the first axis of its order most. Shares are chosen such that the busiest link carries least:
the smallest t with "sum of share x load <= t" for every link. That is a linear programme of at most some hundred
columns, solved here in plain numpy; a rank needs no solver at all, as the lanes of a run stand in its rank map.

With these shares the busiest link carries what the lower bound says: each of p nodes must send and receive
2 N (p-1)/p bytes for an all-reduce of N through its k ports.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from megatron_fugaku.plan.boxes import NODE_AXIS, Box
from megatron_fugaku.plan.torus import Torus

_NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Dimension:
    """How the nodes of a group lie along one axis.

    Attributes:
        axis: index of the axis in the torus.
        size: nodes of the group, at least 2.
        closes: the group has a way round: its ring goes in one direction only. Otherwise the message that closes the
            ring returns on the links of the other direction.
        sharing: groups whose messages pass the same link.
    """

    axis: int
    size: int
    closes: bool
    sharing: int = 1

    @property
    def num_ports(self) -> float:
        """Links' worth of bandwidth that each node has along this axis for itself."""
        return (2 if self.closes else 1) / self.sharing


@dataclass(frozen=True)
class Lane:
    """A share of the vector and its way: indices into the dimensions, and +1 or -1 along each."""

    order: tuple[int, ...]
    directions: tuple[int, ...]
    weight: float


@dataclass(frozen=True)
class LanePlan:
    """The lanes of a group.

    Attributes:
        dimensions: axes of the box with more than one node.
        lanes: shares that add up to 1.
        load: bytes on the busiest link during an all-reduce, in bytes of the vector; half of it for a
            reduce-scatter or an all-gather.
        bound: the least possible.
    """

    dimensions: tuple[Dimension, ...]
    lanes: tuple[Lane, ...]
    load: float
    bound: float

    @property
    def num_nodes(self) -> int:
        """Nodes of a group."""
        return int(np.prod([dimension.size for dimension in self.dimensions], dtype=np.int64))


def box_dimensions(box: Box, torus: Torus, ranks_per_node: int = 1) -> tuple[Dimension, ...]:
    """Return the dimensions in which the groups of a box lie; ranks of a node need no link and share the node's."""
    co_located = ranks_per_node // box.extents[NODE_AXIS]
    found = []
    for axis, (extent, stride) in enumerate(zip(box.extents[1:], box.strides[1:], strict=True)):
        if extent > 1:
            closes = torus.axes[axis].closes and extent > 2 and extent * stride == torus.axes[axis].size
            found.append(Dimension(axis, extent, closes, stride * co_located))
    return tuple(found)


def whole_torus(torus: Torus) -> tuple[Dimension, ...]:
    """Return the dimensions of the group of all nodes."""
    return tuple(Dimension(index, axis.size, axis.closes) for index, axis in enumerate(torus.axes) if axis.size > 1)


def directions_to_try(dimensions: tuple[Dimension, ...]) -> tuple[int, ...]:
    """Directions worth trying: the other way round changes something only where a ring is closed."""
    return (1, -1) if any(dimension.closes for dimension in dimensions) else (1,)


def _iterate_orders(num_dimensions: int) -> Iterator[tuple[int, ...]]:
    """Yield every order, the rotations first: on equal axes they alone do it, with equal shares."""
    axes = tuple(range(num_dimensions))
    rotations = [axes[index:] + axes[:index] for index in axes]
    yield from rotations
    yield from (order for order in itertools.permutations(axes) if order not in rotations)


@functools.cache
def plan_lanes(dimensions: tuple[Dimension, ...], num_interfaces: int = 6) -> LanePlan:
    """Choose the shares of the lanes.

    Args:
        dimensions: axes of the group; none for a group inside a node.
        num_interfaces: links' worth of bytes that a node can send at a time.
    """
    if not dimensions:
        return LanePlan((), (), 0.0, 0.0)
    candidates = [(order, (direction,) * len(order)) for order in _iterate_orders(len(dimensions))
                  for direction in directions_to_try(dimensions)]
    # A row per dimension and direction, the last for what a node can send.
    loads = np.zeros((2 * len(dimensions) + 1, len(candidates)))
    for column, (order, directions) in enumerate(candidates):
        left = 1.0
        for index, direction in zip(order, directions, strict=True):
            dimension = dimensions[index]
            sent = 2 * left * (dimension.size - 1) / dimension.size
            if dimension.closes:
                loads[2 * index + (direction < 0), column] += sent * dimension.sharing
            else:
                loads[2 * index:2 * index + 2, column] += sent * dimension.sharing
            loads[-1, column] += sent / num_interfaces
            left /= dimension.size
    shares, load = _least_maximum(loads)
    lanes = tuple(Lane(order, directions, float(share))
                  for (order, directions), share in zip(candidates, shares, strict=True) if share > 0)
    num_nodes = int(np.prod([dimension.size for dimension in dimensions]))
    ports = min(num_interfaces, sum(dimension.num_ports for dimension in dimensions))
    return LanePlan(dimensions, lanes, load, 2 * (num_nodes - 1) / num_nodes / ports)


def _least_maximum(loads: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the shares of the columns, adding up to 1, whose weighted sum has the smallest largest entry, and that.

    With y = share / t this is: maximise the sum of y where loads @ y <= 1, y >= 0; y = 0 is a start. Bland's rule
    takes the first column that helps and the first row that binds, which cannot go in circles.
    """
    num_rows, num_columns = loads.shape
    table = np.hstack([loads, np.eye(num_rows), np.ones((num_rows, 1))])
    gain = np.concatenate([np.ones(num_columns), np.zeros(num_rows + 1)])
    basis = list(range(num_columns, num_columns + num_rows))
    while (better := np.flatnonzero(gain[:-1] > _NEGLIGIBLE)).size:
        column = int(better[0])
        up = table[:, column] > _NEGLIGIBLE
        limit = np.full(num_rows, np.inf)
        limit[up] = table[up, -1] / table[up, column]
        least = limit.min()
        row = min(np.flatnonzero(limit <= least * (1 + _NEGLIGIBLE) + 1e-15), key=lambda index: basis[index])
        table[row] /= table[row, column]
        others = np.arange(num_rows) != row
        table[others] -= np.outer(table[others, column], table[row])
        gain = gain - gain[column] * table[row]
        basis[row] = column
    shares = np.zeros(num_columns + num_rows)
    shares[basis] = table[:, -1]
    shares = np.where(shares[:num_columns] > _NEGLIGIBLE, shares[:num_columns], 0.0)
    shares = shares / shares.sum()
    return shares, float((loads @ shares).max())
