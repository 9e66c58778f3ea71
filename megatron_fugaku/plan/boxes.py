"""Boxes: how the groups of one parallel dimension lie on the axes of a torus.

Every dimension (TP, DP, PP) is given an extent and a stride on every axis, so that its groups are axis-aligned and all
alike. Axis 0 stands for the ranks that share a node; the others are the axes of the torus.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

NODE_AXIS = 0
# Tensor parallelism exchanges most bytes, in the critical path; then gradients; pipeline messages are the fewest.
PRIORITY = ("tp", "dp", "pp")


@dataclass(frozen=True)
class Box:
    """The nodes of one group: ``extents`` and ``strides`` per axis (axis 0 is inside a node), walked in ``order``.

    ``order`` lists the axes of extent above one, from the one that changes fastest.
    """

    extents: tuple[int, ...]
    strides: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of members."""
        return int(np.prod(self.extents, dtype=np.int64))

    def positions(self) -> np.ndarray:
        """Return the place of each member within the box, int64 of shape (members, axes), strides left out."""
        places = np.zeros((self.size, len(self.extents)), np.int64)
        rest = np.arange(self.size)
        for axis in self.order:
            rest, digit = np.divmod(rest, self.extents[axis])
            # Every other sweep runs backwards: consecutive members then differ on one axis only.
            places[:, axis] = np.where(rest % 2 == 1, self.extents[axis] - 1 - digit, digit)
        return places

    def walk(self) -> np.ndarray:
        """Return the offset of each member along each axis, int64 of shape (members, axes)."""
        return self.positions() * np.array(self.strides)


@functools.cache
def ring_cost(extents: tuple[int, ...], strides: tuple[int, ...], order: tuple[int, ...],
              sizes: tuple[int, ...], rings: tuple[bool, ...]) -> tuple[int, int, int]:
    """Return (longest step, all hops, closing hops) of a box's walk closed to a ring.

    The longest step is also the number of groups that share the busiest link: a stride of s interleaves s groups.

    Args:
        extents, strides, order: those of the box.
        sizes: nodes per axis, the ranks of a node first.
        rings: whether each axis is closed.
    """
    closing = longest = total = 0
    sweeps = int(np.prod(extents, dtype=np.int64))
    for axis in order:
        extent, stride, size = extents[axis], strides[axis], sizes[axis]
        members_outside = sweeps // extent
        if axis != NODE_AXIS and extent > 1:
            def shorter(distance: int, axis: int = axis, size: int = size) -> int:
                return min(distance, size - distance) if rings[axis] else distance

            longest = max(longest, shorter(stride))
            total += (extent - 1) * members_outside * shorter(stride)
            # The last member stands at the far end when the number of sweeps is odd, and always on the last axis.
            if members_outside % 2 == 1:
                closing += shorter((extent - 1) * stride)
        sweeps = members_outside
    return longest, total + closing, closing


@functools.cache
def best_walk(extents: tuple[int, ...], strides: tuple[int, ...], sizes: tuple[int, ...],
              rings: tuple[bool, ...]) -> tuple[tuple[int, int], Box]:
    """Return the order of walking a box whose ring has the shortest steps and the fewest hops, with (longest, hops)."""
    present = [axis for axis, extent in enumerate(extents) if extent > 1]
    scored = [(ring_cost(extents, strides, order, sizes, rings)[:2], order)
              for order in itertools.permutations(present)]
    score, order = min(scored)
    return score, Box(extents, strides, order)


@functools.cache
def _factor_triples(size: int) -> tuple[tuple[int, int, int], ...]:
    divisors = [d for d in range(1, size + 1) if size % d == 0]
    return tuple((a, b, size // (a * b)) for a in divisors for b in divisors if size % (a * b) == 0)


def iterate_splits(sizes: tuple[int, ...], wanted: tuple[int, int, int]) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Yield, per axis, extents of (tp, dp, pp) whose products over the axes are ``wanted``."""
    if not sizes:
        if wanted == (1, 1, 1):
            yield ()
        return
    for triple in _factor_triples(sizes[0]):
        if all(want % have == 0 for want, have in zip(wanted, triple, strict=True)):
            rest = tuple(want // have for want, have in zip(wanted, triple, strict=True))
            for tail in iterate_splits(sizes[1:], rest):
                yield (triple, *tail)


@functools.cache
def nestings(triple: tuple[int, int, int]) -> tuple[tuple[int, int, int], ...]:
    """Return strides of (tp, dp, pp) on one axis for every order of nesting them."""
    present = [index for index in range(3) if triple[index] > 1]
    strides = []
    for order in itertools.permutations(present):
        stride, result = 1, [1, 1, 1]
        for index in order:
            result[index] = stride
            stride *= triple[index]
        strides.append(tuple(result))
    return tuple(dict.fromkeys(strides))
