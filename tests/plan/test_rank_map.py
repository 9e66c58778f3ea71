import numpy as np
import pytest
from hypothesis import given, settings
from torus_layouts import layouts, traffics

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.boxes import PRIORITY
from megatron_fugaku.plan.map_search import search_map
from megatron_fugaku.plan.rank_map import build_map, row_order
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.tofu import build_tofu
from megatron_fugaku.plan.topology import build_torus
from megatron_fugaku.plan.traffic import Phase, Traffic

MODEL_PARALLEL = Traffic("test", (Phase("tp", 4e7, 140), Phase("pp", 4e7, 14), Phase("dp", 1e9, 1)))


@settings(max_examples=150)
@given(layouts(), traffics())
def test_every_node_gets_its_ranks_and_groups_lie_on_boxes(layout, traffic):
    ranks, torus, per_node = layout
    found = search_map(ranks, torus, traffic, per_node).rank_map
    assert (np.bincount(found.nodes, minlength=torus.num_nodes) == per_node).all()
    logical = torus.logical_sizes
    assert found.coordinates.shape == (ranks.world_size, len(logical)) and (found.coordinates < logical).all()
    for name in PRIORITY:
        groups = ranks.groups(name)
        size = found.boxes[name].size
        assert size == ranks.size(name) == groups.shape[1]
        places = found.places[groups]
        # All groups are the same box, moved.
        offsets = places - places[:, :1]
        assert (offsets == offsets[:1]).all()
        # The cost of their rings is that of their routes, but for ties half-way round.
        steps = torus.hops(found.nodes[groups[:, 1:]].ravel(), found.nodes[groups[:, :-1]].ravel())
        assert found.ring_cost(name)[0] == steps.max(initial=0)


@given(layouts())
def test_row_order_fills_one_node_after_the_other(layout):
    _, torus, per_node = layout
    nodes = row_order(torus, per_node)
    assert (np.bincount(nodes) == per_node).all()
    places = torus.to_logical(torus.coordinates(nodes[::per_node]))
    numbers = np.ravel_multi_index(tuple(places.T[::-1]), torus.logical_sizes[::-1])
    assert numbers.tolist() == list(range(torus.num_nodes))


def test_row_order_is_that_of_real_jobs():
    torus = build_tofu((48, 6, 48))
    nodes = row_order(torus)
    along_x = torus.coordinates(nodes[[0, 1, 23, 24, 47]])[:, [0, 3]]
    assert along_x.tolist() == [[0, 0], [1, 0], [23, 0], [23, 1], [0, 1]]
    assert torus.to_logical(torus.coordinates(nodes[[48, 288]])).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_the_13b_run_on_its_torus():
    found = search_map(RankMatrix(6, 288, 8), build_tofu((48, 6, 48)), MODEL_PARALLEL)
    assert found.rank_map.explain() == (
        "On 48x6x48 on Tofu-D: X24 Y2 Z24 A2 B3 C2: TP 6 on B3 x C2; DP 288 on Y2 x Z24 x A2 x X3 in steps of 8; "
        "PP 8 on X8.")
    for name, ports in (("tp", 3), ("dp", 4 + 2 / 8)):
        plan = found.rank_map.lanes(name)
        p = found.rank_map.ranks.size(name)
        assert plan.load == pytest.approx(2 * (p - 1) / p / ports)


def test_maps_by_hand():
    torus = build_tofu((4, 3, 2))
    ranks = RankMatrix(6, 2, 2)
    axes = {"tp": {"B": (3, 1), "A": (2, 1)}, "dp": {"X": (2, 1)}, "pp": {"C": (2, 1)}}
    found = build_map(ranks, torus, axes)
    assert found.explain() == "On 4x3x2 on Tofu-D: X2 Y1 Z1 A2 B3 C2: TP 6 on B3 x A2; DP 2 on X2; PP 2 on C2."
    assert found.positions("tp").tolist() == [[0, 0], [0, 1], [0, 2], [1, 2], [1, 1], [1, 0]]
    for wrong in ({**axes, "pp": {}}, {**axes, "pp": {"X": (2, 1)}}, {**axes, "pp": {"C": (2, 2)}}):
        with pytest.raises(PlanError, match="do not cover 4x3x2 on Tofu-D"):
            build_map(ranks, torus, wrong)


def test_ranks_that_do_not_fill_the_torus():
    with pytest.raises(PlanError, match=r"= 16 ranks do not fill the torus 4x3 with 1 per node = 12"):
        search_map(RankMatrix(4, 2, 2), build_torus("4x3"), MODEL_PARALLEL)


def test_one_rank_needs_no_words():
    assert search_map(RankMatrix(1, 1, 1), build_torus("1"), Traffic("", ())).rank_map.explain() == \
        "On 1 torus: one rank."
