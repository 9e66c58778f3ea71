"""Which node each rank runs on: boxes of a torus for TP, DP and PP, in Megatron's order of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.boxes import NODE_AXIS, PRIORITY, Box, ring_cost
from megatron_fugaku.plan.lanes import LanePlan, box_dimensions, plan_lanes
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.torus import Torus


def check_fits(ranks: RankMatrix, torus: Torus, ranks_per_node: int) -> None:
    """Check that the ranks fill the torus.

    Raises:
        PlanError: they are more or fewer.
    """
    capacity = torus.num_nodes * ranks_per_node
    if capacity != ranks.world_size:
        shape = "x".join(map(str, torus.logical_sizes))
        raise PlanError(f"tensor {ranks.tp} x data {ranks.dp} x pipeline {ranks.pp} = {ranks.world_size} ranks do not "
                        f"fill the torus {shape} with {ranks_per_node} per node = {capacity}",
                        "every node of the torus gets the same number of ranks",
                        "change the parallel sizes, the torus or ranks_per_node", "launch.topology")


def row_order(torus: Torus, ranks_per_node: int = 1) -> np.ndarray:
    """Return the node of every rank where nothing says otherwise: nodes in logical order, the first axis fastest.

    That is how PJM numbers the ranks of a job with a shape; the ranks of a node follow each other.
    """
    sizes = torus.logical_sizes
    places = np.stack(np.unravel_index(np.arange(torus.num_nodes), sizes[::-1]), axis=1)[:, ::-1].astype(np.int64)
    return np.repeat(torus.nodes(torus.to_physical(places)), ranks_per_node)


@dataclass(frozen=True)
class RankMap:
    """A placement of all ranks.

    Attributes:
        torus: the network.
        ranks_per_node: ranks that share a node.
        ranks: the rank matrix.
        boxes: the box of each dimension, by "tp", "dp", "pp".
    """

    torus: Torus
    ranks_per_node: int
    ranks: RankMatrix
    boxes: dict[str, Box]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Extent of every axis, the one inside a node first."""
        return (self.ranks_per_node, *self.torus.sizes)

    @property
    def rings(self) -> tuple[bool, ...]:
        """Which of ``sizes`` are closed."""
        return (False, *(axis.is_ring for axis in self.torus.axes))

    @cached_property
    def places(self) -> np.ndarray:
        """Place of every rank on the axes, int64 of shape (ranks, axes of the torus); row i is rank i."""
        walk = {name: self.boxes[name].walk() for name in PRIORITY}
        place = walk["pp"][:, None, None, :] + walk["dp"][None, :, None, :] + walk["tp"][None, None, :, :]
        return place.reshape(self.ranks.world_size, -1)[:, 1:]

    @cached_property
    def nodes(self) -> np.ndarray:
        """Node of every rank, int64 of shape (ranks,)."""
        return self.torus.nodes(self.places)

    @cached_property
    def coordinates(self) -> np.ndarray:
        """The batch system's coordinates of every rank's node, int64 of shape (ranks, logical axes)."""
        return self.torus.to_logical(self.places)

    def lanes(self, dimension: str) -> LanePlan:
        """Return the lanes of the groups of "tp" or "dp"."""
        dimensions = box_dimensions(self.boxes[dimension], self.torus, self.ranks_per_node)
        return plan_lanes(dimensions, self.torus.num_interfaces)

    def positions(self, dimension: str) -> np.ndarray:
        """Return where each member of a group stands along the dimensions of its lanes, int64 (members, dimensions)."""
        axes = [found.axis + 1 for found in self.lanes(dimension).dimensions]
        return self.boxes[dimension].positions()[:, axes]

    def ring_cost(self, dimension: str) -> tuple[int, int, int]:
        """Return (longest step, all hops, closing hops) of one group's ring in the order of its ranks."""
        box = self.boxes[dimension]
        return ring_cost(box.extents, box.strides, box.order, self.sizes, self.rings)

    def explain_box(self, dimension: str) -> str:
        """Return where a dimension lies, such as ``X24 x Y2 x Z3 in steps of 8``."""
        box, where = self.boxes[dimension], []
        for axis in box.order:
            label = "ranks of a node " if axis == NODE_AXIS else self.torus.axes[axis - 1].name
            stride = f" in steps of {box.strides[axis]}" if box.strides[axis] > 1 else ""
            where.append(f"{label}{box.extents[axis]}{stride}")
        return " x ".join(where) or "one rank"

    def explain(self) -> str:
        """Return a sentence that says which dimension lies where."""
        parts = [f"{name.upper()} {self.ranks.size(name)} on {self.explain_box(name)}"
                 for name in PRIORITY if self.ranks.size(name) > 1]
        return f"On {self.torus.describe()}: " + ("; ".join(parts) or "one rank") + "."


def build_map(ranks: RankMatrix, torus: Torus, axes: dict[str, dict[str, tuple[int, int]]],
              ranks_per_node: int = 1) -> RankMap:
    """Return the map whose boxes are given by hand.

    Args:
        ranks: the rank matrix.
        torus: the network.
        axes: by dimension and name of an axis, (extent, stride), the axis that changes fastest first; other axes have
            one node of each group.
        ranks_per_node: ranks that share a node.

    Raises:
        PlanError: the boxes do not cover every node once.
    """
    check_fits(ranks, torus, ranks_per_node)
    names = ["node", *(axis.name for axis in torus.axes)]
    boxes = {}
    for dimension in PRIORITY:
        extents, strides, order = [1] * len(names), [1] * len(names), []
        for name, (extent, stride) in axes.get(dimension, {}).items():
            index = names.index(name)
            extents[index], strides[index] = extent, stride
            order.append(index)
        boxes[dimension] = Box(tuple(extents), tuple(strides), tuple(order))
    found = RankMap(torus, ranks_per_node, ranks, boxes)
    sizes_agree = all(boxes[name].size == ranks.size(name) for name in PRIORITY)
    inside = sizes_agree and (found.places < np.array(torus.sizes)).all()
    if not inside or (np.bincount(found.nodes, minlength=torus.num_nodes) != ranks_per_node).any():
        raise PlanError(f"the boxes {axes} do not cover {torus.describe()} once", "two ranks would want the same node",
                        "give extents whose product is the size of the dimension, nested on each axis")
    return found
