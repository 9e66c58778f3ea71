"""The best rank map: every way to lay TP, DP and PP along the axes of a torus, judged by the time of a step's messages.

A way gives each axis extents whose product is its size and an order in which they are nested. The time of TP and DP is
that of their lanes; a pipeline message shares its link with those of all pipelines that its stride interleaves. What
cannot be told from the boxes, the all-reduce of a tied embedding between the first and the last stage, is measured by
its routes, for those maps only that could still win.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from megatron_fugaku.plan import traffic
from megatron_fugaku.plan.boxes import NODE_AXIS, PRIORITY, Box, best_walk, iterate_splits, nestings
from megatron_fugaku.plan.cost_model import FLUID
from megatron_fugaku.plan.lanes import box_dimensions, plan_lanes
from megatron_fugaku.plan.rank_map import RankMap, check_fits
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.step_time import FLAT_RINGS, LANES, StepModel
from megatron_fugaku.plan.torus import Torus
from megatron_fugaku.plan.traffic import Phase, Traffic


@dataclass(frozen=True)
class SearchResult:
    """The map found, its time, and how large the choice was."""

    rank_map: RankMap
    seconds: float
    num_splits: int
    num_maps: int
    median_s: float
    worst_s: float


def search_map(ranks: RankMatrix, torus: Torus, step_traffic: Traffic, ranks_per_node: int = 1,
               algorithm: str = LANES) -> SearchResult:
    """Return the axis-aligned map on which the step's messages take least time, by the fluid model.

    Among equals, the one whose groups also make the shortest rings in the order of their ranks wins, TP first, so that
    plain ring collectives run well on it too.

    Args:
        ranks: the rank matrix.
        torus: the network.
        step_traffic: what a step sends.
        ranks_per_node: ranks that share a node.
        algorithm: LANES, or FLAT_RINGS for a run whose collectives are rings in the order of the ranks.

    Raises:
        PlanError: the ranks are not as many as the torus holds.
    """
    check_fits(ranks, torus, ranks_per_node)
    sizes, rings = (ranks_per_node, *torus.sizes), (False, *(axis.is_ring for axis in torus.axes))
    candidates, num_splits = [], 0
    # The products agree, so every prime factor of an axis finds a dimension: there is always at least one map.
    for factors in iterate_splits(sizes, (ranks.tp, ranks.dp, ranks.pp)):
        num_splits += 1
        # Inside a node there is no stride.
        for strides in itertools.product([(1, 1, 1)], *[nestings(triple) for triple in factors[1:]]):
            boxes, rings_cost = {}, []
            for index, name in enumerate(PRIORITY):
                cost, boxes[name] = best_walk(tuple(triple[index] for triple in factors),
                                              tuple(stride[index] for stride in strides), sizes, rings)
                rings_cost += cost
            seconds = sum(_phase_seconds(phase, boxes, torus, ranks_per_node, algorithm)
                          for phase in step_traffic.phases)
            candidates.append((round(seconds, 12), tuple(rings_cost), len(candidates), boxes))
    candidates.sort(key=lambda candidate: candidate[:3])
    embedding = step_traffic.phase(traffic.EMBEDDING)
    best = None
    for seconds, cost, number, boxes in candidates:
        if best is not None and (seconds > best[0] or embedding is None):
            break
        rank_map = RankMap(torus, ranks_per_node, ranks, boxes)
        if embedding is not None:
            seconds += embedding.count * StepModel.of_map(rank_map).phase_seconds(embedding, "", FLUID)
        if best is None or (seconds, cost, number) < best[:3]:
            best = (seconds, cost, number, rank_map)
    return SearchResult(best[3], best[0], num_splits, len(candidates), candidates[len(candidates) // 2][0],
                        candidates[-1][0])


def _interleaved(box: Box, ranks_per_node: int) -> int:
    """Return how many groups pass the same link when members pass a message on to the next."""
    strides = [box.strides[axis] for axis in box.order if axis != NODE_AXIS]
    return max(strides, default=0) * (ranks_per_node // box.extents[NODE_AXIS])


def _phase_seconds(phase: Phase, boxes: dict[str, Box], torus: Torus, ranks_per_node: int, algorithm: str) -> float:
    """Return a phase's fluid time from its box alone; 0 for what only routes tell."""
    if phase.kind in (traffic.TENSOR, traffic.DATA) and algorithm == FLAT_RINGS:
        box = boxes[phase.kind]
        load = 2 * (box.size - 1) / box.size * _interleaved(box, ranks_per_node)
    elif phase.kind in (traffic.TENSOR, traffic.DATA):
        load = plan_lanes(box_dimensions(boxes[phase.kind], torus, ranks_per_node), torus.num_interfaces).load
    elif phase.kind == traffic.PIPELINE:
        load = _interleaved(boxes[traffic.PIPELINE], ranks_per_node)
    else:
        return 0.0
    return phase.count * phase.num_bytes * load / torus.link_bytes_per_s
