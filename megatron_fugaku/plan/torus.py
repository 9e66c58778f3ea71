"""Ranks onto a torus of nodes: axis-aligned maps, the best of them, and Fujitsu's vcoordfile.

A job on Fugaku sees its nodes as a logical 1D to 3D torus such as 48x6x48; the axes are (X.A), (Y.B) and (Z.C) of
Tofu-D walked so that logical neighbours are physical ones. Every parallel dimension is given a box of nodes: per axis
an extent and a stride. Within its box a group walks boustrophedon, so that consecutive members are one stride apart.
Ranks that share a node count as an axis of their own on which a hop costs nothing.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass

import numpy as np

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.rank_matrix import RankMatrix

AXIS_NAMES = "XYZ"
NODE_AXIS = 0
# Tensor parallelism exchanges most bytes, in the critical path; then gradients; pipeline messages are the fewest.
PRIORITY = ("tp", "dp", "pp")


def parse_torus(text: str) -> tuple[int, ...]:
    """Turn ``48x6x48`` (or ``48x6x48:torus:strict-io``) into ``(48, 6, 48)``.

    Raises:
        PlanError: it has not one to three positive sizes.
    """
    shape = text.split(":")[0]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", shape):
        raise PlanError(f"torus {text!r} is not of the form 48x6x48", "nodes are numbered along one to three axes",
                        "write one to three positive sizes with x between them", "launch.topology")
    return tuple(int(size) for size in shape.split("x"))


@dataclass(frozen=True)
class Box:
    """The nodes of one group: ``extents`` and ``strides`` per axis (axis 0 is inside a node), walked in ``order``.

    ``order`` lists the axes from the one that changes fastest.
    """

    extents: tuple[int, ...]
    strides: tuple[int, ...]
    order: tuple[int, ...]

    def walk(self) -> np.ndarray:
        """Return the offset of each member along each axis, int64 of shape (members, axes)."""
        num = int(np.prod(self.extents))
        offsets = np.zeros((num, len(self.extents)), np.int64)
        rest = np.arange(num)
        for axis in self.order:
            rest, digit = np.divmod(rest, self.extents[axis])
            # Every other sweep runs backwards: consecutive members then differ on one axis only.
            offsets[:, axis] = np.where(rest % 2 == 1, self.extents[axis] - 1 - digit, digit) * self.strides[axis]
        return offsets


@functools.cache
def ring_cost(extents: tuple[int, ...], strides: tuple[int, ...], order: tuple[int, ...],
              sizes: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (longest step, all hops, closing hops) of a box's walk closed to a ring, on a torus of ``sizes``.

    The longest step is also the number of groups that share the busiest link: a stride of s interleaves s groups.
    """
    closing = longest = total = 0
    sweeps = int(np.prod(extents, dtype=np.int64))
    for axis in order:
        extent, stride, size = extents[axis], strides[axis], sizes[axis]
        members_outside = sweeps // extent
        if axis != NODE_AXIS and extent > 1:
            hop = min(stride, size - stride)
            longest = max(longest, hop)
            total += (extent - 1) * members_outside * hop
            # The last member stands at the far end when the number of sweeps is odd, and always on the last axis.
            if members_outside % 2 == 1:
                distance = (extent - 1) * stride
                closing += min(distance, size - distance)
        sweeps = members_outside
    return longest, total + closing, closing


@dataclass(frozen=True)
class TorusMap:
    """A placement of all ranks.

    Attributes:
        torus: nodes per axis.
        ranks_per_node: ranks that share a node.
        ranks: the rank matrix.
        boxes: the box of each dimension, by "tp", "dp", "pp".
    """

    torus: tuple[int, ...]
    ranks_per_node: int
    ranks: RankMatrix
    boxes: dict[str, Box]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Extent of every axis, the one inside a node first."""
        return (self.ranks_per_node, *self.torus)

    def coordinates(self) -> np.ndarray:
        """Return the node of every rank, int64 of shape (ranks, axes of the torus); row i is rank i."""
        walk = {name: self.boxes[name].walk() for name in PRIORITY}
        place = walk["pp"][:, None, None, :] + walk["dp"][None, :, None, :] + walk["tp"][None, None, :, :]
        return place.reshape(self.ranks.world_size, -1)[:, 1:]

    def cost(self, dimension: str) -> tuple[int, int, int]:
        """Return (longest step, all hops, closing hops) of one group's ring; see :func:`ring_cost`."""
        box = self.boxes[dimension]
        return ring_cost(box.extents, box.strides, box.order, self.sizes)

    def explain(self) -> str:
        """Return a sentence that says which dimension lies where, and what its rings cost."""
        parts = []
        for name in PRIORITY:
            box, size = self.boxes[name], self.ranks.size(name)
            if size == 1:
                continue
            where = []
            for axis in box.order:
                if box.extents[axis] == 1:
                    continue
                label = "ranks of a node" if axis == NODE_AXIS else AXIS_NAMES[axis - 1]
                stride = f" in steps of {box.strides[axis]}" if box.strides[axis] > 1 else ""
                where.append(f"{label} {box.extents[axis]}{stride}")
            longest, _, closing = self.cost(name)
            rings = (f"neighbours at most {longest} hop{'s' * (longest != 1)} apart, ring closed by {closing}"
                     if longest else "inside a node")
            parts.append(f"{name.upper()} {size} on {' x '.join(where)} ({rings})")
        shape = "x".join(map(str, self.torus))
        return f"On the torus {shape}: " + ("; ".join(parts) or "one rank") + "."

    def render_vcoordfile(self, cores_per_rank: int | None = None) -> str:
        """Return the text of Fujitsu MPI's vcoordfile: line i holds the node of rank i, such as ``(0,3,1)``.

        Args:
            cores_per_rank: adds ``core=N``, for nodes that several ranks share.
        """
        cores = f" core={cores_per_rank}" if cores_per_rank else ""
        return "".join(f"({','.join(map(str, node))}){cores}\n" for node in self.coordinates().tolist())

    def describe(self) -> dict:
        """Return the map as JSON-ready data, for the run folder and for the runtime's choice of algorithms."""
        return {
            "torus": list(self.torus), "ranks_per_node": self.ranks_per_node,
            "dimensions": {name: {"size": self.ranks.size(name), "extents": list(self.boxes[name].extents[1:]),
                                  "strides": list(self.boxes[name].strides[1:]),
                                  "ranks_in_node": self.boxes[name].extents[NODE_AXIS],
                                  "walk_order": [AXIS_NAMES[axis - 1] for axis in self.boxes[name].order
                                                 if axis != NODE_AXIS and self.boxes[name].extents[axis] > 1]}
                           for name in PRIORITY},
        }


@functools.cache
def _factor_triples(size: int) -> tuple[tuple[int, int, int], ...]:
    divisors = [d for d in range(1, size + 1) if size % d == 0]
    return tuple((a, b, size // (a * b)) for a in divisors for b in divisors if size % (a * b) == 0)


def _factorisations(sizes: tuple[int, ...], wanted: tuple[int, int, int]):
    """Yield, per axis, extents of (tp, dp, pp) whose products over the axes are ``wanted``."""
    if not sizes:
        if wanted == (1, 1, 1):
            yield ()
        return
    for triple in _factor_triples(sizes[0]):
        if all(want % have == 0 for want, have in zip(wanted, triple, strict=True)):
            rest = tuple(want // have for want, have in zip(wanted, triple, strict=True))
            for tail in _factorisations(sizes[1:], rest):
                yield (triple, *tail)


def _nestings(triple: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Strides of (tp, dp, pp) on one axis for every order of nesting them."""
    present = [index for index in range(3) if triple[index] > 1]
    strides = []
    for order in itertools.permutations(present):
        stride, result = 1, [1, 1, 1]
        for index in order:
            result[index] = stride
            stride *= triple[index]
        strides.append(tuple(result))
    return list(dict.fromkeys(strides))


def plan_torus(ranks: RankMatrix, torus: tuple[int, ...], ranks_per_node: int = 1) -> TorusMap:
    """Choose the axis-aligned map with the shortest rings for TP, then DP, then PP.

    Rings compare by their longest step, which is how many groups share a link, then by all their hops, the closing
    ones included; among equals the one that fills more whole axes wins.

    Raises:
        PlanError: the ranks are not as many as the torus holds.
    """
    sizes = (ranks_per_node, *torus)
    capacity = int(np.prod(sizes))
    shape = "x".join(map(str, torus))
    if capacity != ranks.world_size:
        raise PlanError(f"tensor {ranks.tp} x data {ranks.dp} x pipeline {ranks.pp} = {ranks.world_size} ranks do not "
                        f"fill the torus {shape} with {ranks_per_node} per node = {capacity}",
                        "every node of the torus gets the same number of ranks",
                        "change the parallel sizes, the torus or ranks_per_node", "launch.topology")
    best: tuple | None = None
    # The products agree, so every prime factor of an axis finds a dimension: there is always at least one map.
    for factors in _factorisations(sizes, (ranks.tp, ranks.dp, ranks.pp)):
        for strides in itertools.product(*[_nestings(triple) for triple in factors]):
            boxes, score = [], []
            for index in range(3):
                cost, box = _best_walk(tuple(triple[index] for triple in factors),
                                       tuple(stride[index] for stride in strides), sizes)
                boxes.append(box)
                score.append(cost)
                if best is not None and tuple(score) > best[0][:len(score)]:
                    break
            else:
                if best is None or tuple(score) < best[0]:
                    best = (tuple(score), boxes)
    return TorusMap(tuple(torus), ranks_per_node, ranks, dict(zip(PRIORITY, best[1], strict=True)))


@functools.cache
def _best_walk(extents: tuple[int, ...], strides: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[tuple, Box]:
    """Return the cheapest order of walking a box, with its score (smaller is better)."""
    present = [axis for axis, extent in enumerate(extents) if extent > 1]
    whole = sum(extents[axis] == sizes[axis] for axis in present)
    scored = []
    for order in itertools.permutations(present):
        longest, total, _ = ring_cost(extents, strides, order, sizes)
        scored.append(((longest, total, -whole), Box(extents, strides, order)))
    return min(scored, key=lambda item: (item[0], item[1].order))
