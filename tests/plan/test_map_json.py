import json

import numpy as np
import pytest
from hypothesis import given, settings
from torus_layouts import layouts, traffics

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.boxes import PRIORITY
from megatron_fugaku.plan.map_json import describe_map, parse_map, render_map
from megatron_fugaku.plan.map_search import search_map
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.topology import build_torus
from megatron_fugaku.plan.traffic import Phase, Traffic

TRAFFIC = Traffic("test", (Phase("tp", 4e7, 140), Phase("pp", 4e7, 14), Phase("dp", 1e9, 1)))


@settings(max_examples=150)
@given(layouts(most_ranks=512), traffics())
def test_a_map_can_be_read_back(layout, traffic):
    ranks, torus, per_node = layout
    found = search_map(ranks, torus, traffic, per_node).rank_map
    text = render_map(found)
    again = parse_map(text)
    assert json.loads(text) == describe_map(found) == describe_map(again)
    assert np.array_equal(again.nodes, found.nodes) and np.array_equal(again.coordinates, found.coordinates)
    for name in PRIORITY:
        assert again.boxes[name].order == found.boxes[name].order


def test_what_the_runtime_reads():
    found = search_map(RankMatrix(6, 288, 8), build_torus("48x6x48"), TRAFFIC).rank_map
    content = describe_map(found, TRAFFIC)["dimensions"]
    tp, dp = content["tp"], content["dp"]
    assert (tp["torus"], dp["torus"]) == ("3x2", "3x2x24x2") and "lanes" not in content["pp"]
    for group, size in ((tp, 6), (dp, 288)):
        assert sorted(group["torus_ranks"]) == list(range(size))
        assert sum(lane["weight"] for lane in group["lanes"]) == pytest.approx(1.0)
        assert group["num_segments"] >= 4 and group["window"] in (1, 2)
    # Rank 3 of a TP group stands at (2, 1): the walk turns where it changes axes.
    assert tp["torus_ranks"] == [0, 1, 2, 5, 4, 3] and tp["walk_order"] == ["B", "C"]


def test_a_line_is_marked_and_ranks_of_a_node_share_a_place():
    ranks, torus = RankMatrix(8, 3, 1), build_torus("4lx3")
    found = search_map(ranks, torus, Traffic("", (Phase("tp", 1e6, 1),)), 2).rank_map
    tp = describe_map(found)["dimensions"]["tp"]
    assert tp["torus"] == "4l" and tp["ranks_in_node"] == 2
    assert sorted(tp["torus_ranks"]) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"network": {"kind": "plain", "axes": []}}', "null"])
def test_what_is_no_map(text):
    with pytest.raises(PlanError, match=r"the text is not a rank map.*\[placement.json\]"):
        parse_map(text)
