"""A torus of nodes: axes that are closed to rings or end, its routes, and the bytes that every link carries.

A message goes along one axis after the other, the shorter way round on a ring. Links are full duplex, so each direction
counts by itself. Two nodes alone on an axis share one link, however the axis is wired.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

UP, DOWN = 0, 1


@dataclass(frozen=True)
class Axis:
    """One axis: its name, its nodes, and whether the last is a neighbour of the first."""

    name: str
    size: int
    is_ring: bool = True

    @property
    def closes(self) -> bool:
        """Whether going round is another way: two nodes have one link only."""
        return self.is_ring and self.size > 2

    @property
    def num_ports(self) -> int:
        """Links by which every node, the one at an end included, can send along this axis."""
        return 0 if self.size == 1 else 2 if self.closes else 1


@dataclass(frozen=True)
class Torus:
    """Nodes numbered with the last axis fastest.

    Attributes:
        axes: the axes.
        routing: the order in which a message goes along them, as indices; empty for the order of ``axes``.
        link_bytes_per_s: of one link in one direction.
        num_interfaces: messages that a node can send at once at the full rate of a link.
    """

    axes: tuple[Axis, ...]
    routing: tuple[int, ...] = ()
    link_bytes_per_s: float = 6.8e9
    num_interfaces: int = 6

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Nodes per axis."""
        return tuple(axis.size for axis in self.axes)

    @cached_property
    def num_nodes(self) -> int:
        """All nodes."""
        return int(np.prod(self.sizes, dtype=np.int64))

    @property
    def logical_sizes(self) -> tuple[int, ...]:
        """The shape in which the batch system numbers the nodes; that of the axes unless a subclass folds them."""
        return self.sizes

    def to_logical(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the batch system's coordinates of places on the axes; both int64 of shape (n, axes)."""
        return coordinates

    def to_physical(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the places on the axes of the batch system's coordinates."""
        return coordinates

    def describe(self) -> str:
        """Return for example ``4x4x4 torus``."""
        ends = "".join(f", {axis.name} open" for axis in self.axes if axis.size > 2 and not axis.is_ring)
        return "x".join(map(str, self.sizes)) + f" torus{ends}"

    @cached_property
    def _place_values(self) -> np.ndarray:
        return np.array([int(np.prod(self.sizes[axis + 1:], dtype=np.int64)) for axis in range(len(self.sizes))])

    def nodes(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the numbers of nodes; coordinates are int64 of shape (..., axes)."""
        return np.asarray(coordinates) @ self._place_values

    def coordinates(self, nodes: np.ndarray) -> np.ndarray:
        """Return the coordinates of nodes, int64 of shape (n, axes)."""
        return np.stack(np.unravel_index(np.asarray(nodes).ravel(), self.sizes), axis=1).astype(np.int64)

    def steps(self, axis: int, here: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Return the signed number of hops along an axis, the shorter way round.

        Half-way round, both ways are equal: the lower half of the ring goes up and the upper half goes down.
        """
        distance = there - here
        if not self.axes[axis].closes:
            return distance
        size = self.axes[axis].size
        up = distance % size
        return np.where((2 * up < size) | ((2 * up == size) & (here < there)), up, up - size)

    def hops(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the number of links between nodes, int64 of shape (n,)."""
        here, there = self.coordinates(source), self.coordinates(target)
        return sum(np.abs(self.steps(axis, here[:, axis], there[:, axis])) for axis in range(len(self.axes)))

    def link_loads(self, source: np.ndarray, target: np.ndarray, num_bytes: np.ndarray | float) -> np.ndarray:
        """Return the bytes on every link when all messages travel at once.

        Args:
            source: node that sends each message, int64 of shape (n,).
            target: node that receives it.
            num_bytes: bytes of each message, or of all.

        Returns:
            float64 of shape (nodes, axes, 2): the link by which a node sends along an axis, up or down.
        """
        num_axes = len(self.axes)
        here, there = self.coordinates(source), self.coordinates(target)
        weights = np.broadcast_to(np.asarray(num_bytes, np.float64), (len(here),))
        loads = np.zeros(self.num_nodes * num_axes * 2)
        for axis in self.routing or range(num_axes):
            place_value, size = int(self._place_values[axis]), self.axes[axis].size
            steps = self.steps(axis, here[:, axis], there[:, axis])
            base = here @ self._place_values - here[:, axis] * place_value
            for direction, sign in ((UP, 1), (DOWN, -1)):
                left = steps * sign
                moving = np.flatnonzero(left > 0)
                position = here[moving, axis]
                for hop in range(int(left.max(initial=0))):
                    still = left[moving] > hop
                    moving, position = moving[still], position[still]
                    link = ((base[moving] + position * place_value) * num_axes + axis) * 2 + direction
                    loads += np.bincount(link, weights[moving], minlength=loads.size)
                    position = (position + sign) % size
            here[:, axis] = there[:, axis]
        return loads.reshape(self.num_nodes, num_axes, 2)
