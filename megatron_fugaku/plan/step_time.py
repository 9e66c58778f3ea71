"""How long the communication of a training step takes on a torus, by the link-load model.

All groups of a dimension communicate at the same time; the phases of a step follow each other. Time that hides behind
computation is not subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from megatron_fugaku.plan import collectives, traffic
from megatron_fugaku.plan.collectives import Pattern, Stage
from megatron_fugaku.plan.cost_model import CostModel
from megatron_fugaku.plan.link_load import Load, measure_pattern, pattern_seconds
from megatron_fugaku.plan.pipeline import ALL_REDUCE, choose_cut
from megatron_fugaku.plan.rank_map import RankMap
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.torus import Torus
from megatron_fugaku.plan.traffic import Phase, Traffic

FLAT_RINGS, FUJITSU, LANES = "flat rings", "modelled Fujitsu MPI", "lanes"


@dataclass(frozen=True)
class StepTime:
    """Seconds per kind of phase."""

    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """All phases."""
        return sum(self.seconds.values())

    @property
    def collectives(self) -> float:
        """Tensor and data parallelism alone."""
        return self.seconds.get(traffic.TENSOR, 0.0) + self.seconds.get(traffic.DATA, 0.0)


class StepModel:
    """Times of a step for one placement; loads are measured once and kept."""

    def __init__(self, torus: Torus, ranks: RankMatrix, nodes: np.ndarray, rank_map: RankMap | None = None):
        """Take the node of every rank, int64 of shape (ranks,); lanes need the map that it came from."""
        self.torus, self.ranks, self.nodes, self.rank_map = torus, ranks, nodes, rank_map
        self._loads: dict[tuple, tuple[Load, ...]] = {}

    @classmethod
    def of_map(cls, rank_map: RankMap) -> StepModel:
        """Return the model of a map."""
        return cls(rank_map.torus, rank_map.ranks, rank_map.nodes, rank_map)

    def step(self, step_traffic: Traffic, algorithm: str, model: CostModel) -> StepTime:
        """Return the times of all phases of a step with one family of algorithms."""
        return StepTime({phase.kind: phase.count * self.phase_seconds(phase, algorithm, model)
                         for phase in step_traffic.phases})

    def phase_seconds(self, phase: Phase, algorithm: str, model: CostModel) -> float:
        """Return the time of one call or message."""
        if phase.kind == traffic.PIPELINE:
            return self._pipeline_seconds(phase, model)
        if phase.kind == traffic.EMBEDDING:
            return self._pattern_seconds(traffic.EMBEDDING, "ends", collectives.ring(2), phase.num_bytes, model)
        return self.collective_seconds(phase.kind, phase.num_bytes, algorithm, model)

    def collective_seconds(self, dimension: str, num_bytes: float, algorithm: str, model: CostModel) -> float:
        """Return the time of one all-reduce in every group of "tp" or "dp" at once."""
        if algorithm == LANES:
            if self.rank_map is None:
                raise ValueError("lanes need boxes")
            return self._lane_seconds(dimension, num_bytes, model)
        if algorithm == FLAT_RINGS:
            return self._named_seconds(dimension, collectives.RING, num_bytes, model)
        names = collectives.fujitsu_rules(self.ranks.size(dimension), num_bytes, self._grid(dimension) is not None)
        return min(self._named_seconds(dimension, name, num_bytes, model) for name in names)

    def doubling_seconds(self, dimension: str, num_bytes: float, model: CostModel) -> float:
        """Return the time of recursive doubling."""
        return self._named_seconds(dimension, collectives.DOUBLING, num_bytes, model)

    def bucket_seconds(self, dimension: str, num_bytes: float, model: CostModel) -> float | None:
        """Return the time of rings along one axis after the other, in their best order; None if groups are no grids."""
        grid = self._grid(dimension)
        if grid is None:
            return None
        return min(self._pattern_seconds(dimension, f"bucket {index}", pattern, num_bytes, model)
                   for index, pattern in enumerate(collectives.bucket(grid)))

    def lane_loads(self, dimension: str) -> tuple[Load, ...]:
        """Return the load of all lanes of a dimension at once, by the routes of their messages.

        Ranks of a group that share a node send what one of them would, each its part.
        """
        pattern = collectives.lanes(self.rank_map.lanes(dimension), self.rank_map.positions(dimension))
        return self._measure(dimension, "lanes", pattern)

    def _lane_seconds(self, dimension: str, num_bytes: float, model: CostModel) -> float:
        plan = self.rank_map.lanes(dimension)
        return choose_cut(plan, num_bytes, ALL_REDUCE, model, self.torus.link_bytes_per_s).seconds

    def _named_seconds(self, dimension: str, name: str, num_bytes: float, model: CostModel) -> float:
        size = self.ranks.size(dimension)
        if name == collectives.TRINARY:
            pattern = collectives.trinary(self._grid(dimension))
        else:
            pattern = collectives.ring(size) if name == collectives.RING else collectives.recursive_doubling(size)
        return self._pattern_seconds(dimension, name, pattern, num_bytes, model)

    def _grid(self, dimension: str) -> np.ndarray | None:
        first = self.torus.coordinates(self.nodes[self.ranks.groups(dimension)[0]])
        return collectives.find_grid(self.torus.to_logical(first))

    def _pipeline_seconds(self, phase: Phase, model: CostModel) -> float:
        if self.ranks.pp == 1:
            return 0.0
        last = self.ranks.pp if phase.wraps else self.ranks.pp - 1
        source = np.arange(last)
        target = (source + 1) % self.ranks.pp
        name = "wrapped" if phase.wraps else "open"
        ways = ((f"{name} forward", source, target), (f"{name} backward", target, source))
        seconds = [self._pattern_seconds(traffic.PIPELINE, way, (Stage(one, other, 1.0),), phase.num_bytes, model)
                   for way, one, other in ways]
        return sum(seconds) / 2

    def _pattern_seconds(self, dimension: str, name: str, pattern: Pattern, num_bytes: float,
                         model: CostModel) -> float:
        return pattern_seconds(self.torus, self._measure(dimension, name, pattern), num_bytes, model)

    def _measure(self, dimension: str, name: str, pattern: Pattern) -> tuple[Load, ...]:
        key = dimension, name
        if key not in self._loads:
            if dimension == traffic.EMBEDDING:
                groups = self.ranks.groups(traffic.PIPELINE)[:, [0, -1]]
            else:
                groups = self.ranks.groups(dimension)
            self._loads[key] = measure_pattern(self.torus, self.nodes[groups], pattern)
        return self._loads[key]
