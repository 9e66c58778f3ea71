"""Which rank is which: the one matrix that planner, launcher, runtime and tests agree on.

Megatron's order (``tp-cp-ep-dp-pp`` of ``megatron.core.parallel_state``, here with cp = ep = 1): tensor-parallel
ranks are neighbours, then come the data-parallel replicas, then the pipeline stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from megatron_fugaku.errors import PlanError

DIMENSIONS = ("tp", "dp", "pp")


class Coordinate(NamedTuple):
    """Where a rank stands in each dimension."""

    tp: int
    dp: int
    pp: int


@dataclass(frozen=True)
class RankMatrix:
    """``rank = pp * (dp_size * tp_size) + dp * tp_size + tp``.

    Raises:
        PlanError: a size is below one.
    """

    tp: int
    dp: int
    pp: int

    def __post_init__(self):
        for name in DIMENSIONS:
            if getattr(self, name) < 1:
                raise PlanError(f"the {name} size is {getattr(self, name)}", "every dimension needs at least one rank",
                                "give a positive size", name)

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.tp * self.dp * self.pp

    def size(self, dimension: str) -> int:
        """Return the size of "tp", "dp" or "pp"."""
        return getattr(self, dimension)

    def matrix(self) -> np.ndarray:
        """Return all ranks, int64 of shape (pp, dp, tp)."""
        return np.arange(self.world_size, dtype=np.int64).reshape(self.pp, self.dp, self.tp)

    def coordinate(self, rank: int) -> Coordinate:
        """Return where ``rank`` stands.

        Raises:
            PlanError: there is no such rank.
        """
        if not 0 <= rank < self.world_size:
            raise PlanError(f"rank {rank} is not within 0 … {self.world_size - 1}", "the matrix does not hold it",
                            "ask for an existing rank", "rank")
        rest, tp = divmod(rank, self.tp)
        pp, dp = divmod(rest, self.dp)
        return Coordinate(tp, dp, pp)

    def rank(self, tp: int = 0, dp: int = 0, pp: int = 0) -> int:
        """Return the rank at a coordinate.

        Raises:
            PlanError: the coordinate lies outside.
        """
        for name, value in (("tp", tp), ("dp", dp), ("pp", pp)):
            if not 0 <= value < self.size(name):
                raise PlanError(f"{name} coordinate {value} is not within 0 … {self.size(name) - 1}",
                                "the matrix does not hold it", "ask for an existing coordinate", name)
        return (pp * self.dp + dp) * self.tp + tp

    def groups(self, *dimensions: str) -> np.ndarray:
        """Return the groups of ranks that differ in ``dimensions`` only.

        Args:
            dimensions: one or more of "tp", "dp", "pp"; ("tp", "pp") gives the model-parallel groups.

        Returns:
            int64 of shape (number of groups, ranks per group), in the order in which megatron-core makes them:
            ranks ascend within a group, and groups by their first rank.
        """
        axes = {"pp": 0, "dp": 1, "tp": 2}
        inside = sorted(axes[name] for name in dimensions)
        outside = [axis for axis in range(3) if axis not in inside]
        moved = self.matrix().transpose(outside + inside)
        return moved.reshape(-1, int(np.prod([self.matrix().shape[axis] for axis in inside])))
