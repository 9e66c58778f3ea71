import itertools

import pytest
from hypothesis import assume, given, settings
from torus_layouts import layouts, traffics

from megatron_fugaku.plan.boxes import PRIORITY, best_walk, iterate_splits, nestings
from megatron_fugaku.plan.cost_model import FLUID
from megatron_fugaku.plan.map_search import search_map
from megatron_fugaku.plan.rank_map import RankMap
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.step_time import FLAT_RINGS, LANES, StepModel
from megatron_fugaku.plan.topology import build_torus
from megatron_fugaku.plan.traffic import Phase, Traffic

MODEL_PARALLEL = Traffic("test", (Phase("tp", 4e7, 140), Phase("pp", 4e7, 14), Phase("dp", 1e9, 1)))


def every_map(ranks, torus, per_node):
    sizes, rings = (per_node, *torus.sizes), (False, *(axis.is_ring for axis in torus.axes))
    for factors in iterate_splits(sizes, (ranks.tp, ranks.dp, ranks.pp)):
        for strides in itertools.product([(1, 1, 1)], *[nestings(triple) for triple in factors[1:]]):
            boxes = {name: best_walk(tuple(triple[index] for triple in factors),
                                     tuple(stride[index] for stride in strides), sizes, rings)[1]
                     for index, name in enumerate(PRIORITY)}
            yield RankMap(torus, per_node, ranks, boxes)


def routed_seconds(rank_map, traffic):
    """A step's time with the loads of TP and DP taken from the routes of all their messages."""
    model, total = StepModel.of_map(rank_map), 0.0
    for phase in traffic.phases:
        if phase.kind in ("tp", "dp"):
            load = max((found.link for found in model.lane_loads(phase.kind)), default=0.0)
            total += phase.count * load * phase.num_bytes / rank_map.torus.link_bytes_per_s
        else:
            total += phase.count * model.phase_seconds(phase, LANES, FLUID)
    return total


@settings(max_examples=150)
@given(layouts(most_ranks=128, per_node=(1,)), traffics())
def test_the_best_map_is_the_best_of_all_by_its_routes(layout, traffic):
    ranks, torus, per_node = layout
    found = search_map(ranks, torus, traffic, per_node)
    assume(found.num_maps <= 150)
    times = [routed_seconds(rank_map, traffic) for rank_map in every_map(ranks, torus, per_node)]
    assert found.num_maps == len(times)
    # Boxes tell no less than routes do; more where a pipeline's hop takes the shorter way round.
    assert routed_seconds(found.rank_map, traffic) <= found.seconds * (1 + 1e-6)
    assert found.seconds >= min(times) * (1 - 1e-6)
    # Where no hop can go the other way round, boxes and routes agree for every map.
    if not any(axis.closes for axis in torus.axes):
        assert found.seconds == pytest.approx(min(times), rel=1e-6)


@settings(max_examples=150)
@given(layouts(most_ranks=512))
def test_links_carry_what_the_lanes_plan(layout):
    """Routes of all messages of all groups at once, on the machine, against the load that the shares were chosen by."""
    rank_map = search_map(*layout[:2], MODEL_PARALLEL, layout[2]).rank_map
    model = StepModel.of_map(rank_map)
    for dimension in ("tp", "dp"):
        plan = rank_map.lanes(dimension)
        carried = max((load.link for load in model.lane_loads(dimension)), default=0.0)
        assert carried == pytest.approx(plan.load, rel=1e-9)


def test_tensor_parallelism_goes_into_the_node():
    found = search_map(RankMatrix(4, 6, 8), build_torus("4x6x2:plain"), MODEL_PARALLEL, 4).rank_map
    assert found.ring_cost("tp") == (0, 0, 0) and found.lanes("tp").lanes == ()
    assert "TP 4 on ranks of a node 4;" in found.explain()


def test_a_line_is_preferred_to_groups_that_interleave():
    found = search_map(RankMatrix(4, 2, 1), build_torus("8"), Traffic("", (Phase("tp", 1e6, 1),))).rank_map
    assert found.places[:4].ravel().tolist() == [0, 1, 2, 3]


def test_what_counts_is_what_is_sent():
    """On one line of 8 either TP or DP has neighbours: whoever sends more."""
    ranks, torus = RankMatrix(4, 2, 1), build_torus("8l")
    for tp_count, dp_count, strides in ((100, 1, (1, 4)), (1, 100, (2, 1))):
        traffic = Traffic("", (Phase("tp", 1e6, tp_count), Phase("dp", 1e6, dp_count)))
        boxes = search_map(ranks, torus, traffic).rank_map.boxes
        assert (boxes["tp"].strides[1], boxes["dp"].strides[1]) == strides


def test_rings_want_other_maps_than_lanes():
    """Two closed axes give lanes four ports; a ring of ranks only wants neighbours."""
    ranks, torus = RankMatrix(16, 1, 4), build_torus("4x4x4")
    lanes = search_map(ranks, torus, MODEL_PARALLEL)
    rings = search_map(ranks, torus, MODEL_PARALLEL, algorithm=FLAT_RINGS)
    assert lanes.rank_map.lanes("tp").bound == pytest.approx(2 * 15 / 16 / 4)
    assert rings.rank_map.ring_cost("tp")[0] == 1
    step = StepModel.of_map(rings.rank_map).step(MODEL_PARALLEL, FLAT_RINGS, FLUID)
    assert rings.seconds == pytest.approx(step.total)


def test_a_tied_embedding_alone_decides_by_its_routes():
    """Between first and last stages of interleaved pipelines links are shared; the boxes' own times do not tell."""
    ranks, torus = RankMatrix(1, 2, 4), build_torus("8l")
    found = search_map(ranks, torus, Traffic("", (Phase("embedding", 6.8e9, 1),)))
    assert found.rank_map.boxes["pp"].strides[1] == 1 and found.seconds == pytest.approx(1.0)
