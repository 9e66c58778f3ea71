import hashlib
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.torus import PRIORITY, Box, parse_torus, plan_torus

# sha256 of the vcoordfile of the 13B run; a change of it moves every rank of a running configuration.
FUGAKU_13B_SHA256 = "83888c72e5814a7a07947f39445fe395841a7c1543d6f608c803c142a96fa475"


def hops(one: np.ndarray, other: np.ndarray, torus: tuple[int, ...]) -> np.ndarray:
    distance = np.abs(one - other)
    return np.minimum(distance, np.array(torus) - distance).sum(axis=-1)


@st.composite
def layouts(draw):
    """A torus, ranks per node, and parallel sizes that are boxes of it."""
    sizes = [draw(st.sampled_from((1, 2, 4))), *draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))]
    tp = dp = pp = 1
    for size in sizes:
        own = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
        rest = size // own
        second = draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        tp, dp, pp = tp * own, dp * second, pp * (rest // second)
    assume(tp * dp * pp <= 4096)
    return RankMatrix(tp, dp, pp), tuple(sizes[1:]), sizes[0]


@given(layouts())
def test_every_node_gets_its_ranks(layout):
    ranks, torus, per_node = layout
    placed = plan_torus(ranks, torus, per_node).coordinates()
    assert placed.shape == (ranks.world_size, len(torus))
    nodes, counts = np.unique(placed, axis=0, return_counts=True)
    assert len(nodes) == np.prod(torus) and set(counts) == {per_node}
    assert (nodes.min(axis=0) == 0).all() and (nodes.max(axis=0) == np.array(torus) - 1).all()


@given(layouts())
def test_rings_cost_what_the_plan_says(layout):
    ranks, torus, per_node = layout
    plan = plan_torus(ranks, torus, per_node)
    placed = plan.coordinates()
    for name in PRIORITY:
        if ranks.size(name) == 1:
            continue
        groups = placed[ranks.groups(name)]
        steps = hops(groups[:, 1:], groups[:, :-1], torus)
        closing = hops(groups[:, -1], groups[:, 0], torus)
        longest, total, closed_by = plan.cost(name)
        assert (steps.max(axis=1) == longest).all() and (closing == closed_by).all()
        assert (steps.sum(axis=1) + closing == total).all()


@given(layouts())
def test_tensor_groups_are_contiguous(layout):
    ranks, torus, per_node = layout
    placed = plan_torus(ranks, torus, per_node).coordinates()[ranks.groups("tp")]
    steps = hops(placed[:, 1:], placed[:, :-1], torus)
    # TP is placed first and innermost: its members are neighbours, whatever the sizes.
    assert steps.size == 0 or steps.max() <= 1


def test_the_published_run_on_its_torus():
    started = time.perf_counter()
    plan = plan_torus(RankMatrix(tp=6, dp=288, pp=8), (48, 6, 48))
    text = plan.render_vcoordfile()
    assert time.perf_counter() - started < 5.0
    lines = text.splitlines()
    assert len(lines) == len(set(lines)) == 13824
    assert lines[:7] == ["(0,0,0)", "(0,1,0)", "(0,2,0)", "(0,3,0)", "(0,4,0)", "(0,5,0)", "(1,0,0)"]
    assert plan.cost("tp") == (1, 6, 1) and plan.cost("dp") == (1, 288, 1)
    assert hashlib.sha256(text.encode()).hexdigest() == FUGAKU_13B_SHA256
    assert plan.explain() == (
        "On the torus 48x6x48: TP 6 on Y 6 (neighbours at most 1 hop apart, ring closed by 1); DP 288 on X 6 x Z 48 "
        "(neighbours at most 1 hop apart, ring closed by 1); PP 8 on X 8 in steps of 6 (neighbours at most 6 hops "
        "apart, ring closed by 6).")
    for name in ("tp", "dp"):
        groups = plan.coordinates()[plan.ranks.groups(name)]
        ring = hops(groups, np.roll(groups, 1, axis=1), plan.torus)
        assert (ring == 1).all()


def test_a_line_is_preferred_to_groups_that_interleave():
    plan = plan_torus(RankMatrix(tp=4, dp=2, pp=1), (8,))
    assert plan.coordinates()[:4].ravel().tolist() == [0, 1, 2, 3]


def test_tensor_parallelism_goes_into_the_node():
    plan = plan_torus(RankMatrix(tp=4, dp=6, pp=8), (4, 6, 2), ranks_per_node=4)
    assert plan.cost("tp") == (0, 0, 0)
    assert "TP 4 on ranks of a node 4 (inside a node)" in plan.explain()
    assert plan.render_vcoordfile(cores_per_rank=12).startswith("(0,0,0) core=12\n" * 4)


def test_one_rank_needs_no_words():
    assert plan_torus(RankMatrix(1, 1, 1), (1,)).explain() == "On the torus 1: one rank."


def test_a_walk_changes_one_axis_at_a_time():
    offsets = Box((1, 3, 4, 5), (1, 1, 2, 1), (3, 1, 2)).walk()
    steps = np.abs(np.diff(offsets, axis=0))
    assert ((steps > 0).sum(axis=1) == 1).all()
    assert len(np.unique(offsets, axis=0)) == 60


@pytest.mark.parametrize("text, shape", [("48x6x48", (48, 6, 48)), ("12", (12,)), ("4x2:torus:strict-io", (4, 2))])
def test_torus_texts(text, shape):
    assert parse_torus(text) == shape


@pytest.mark.parametrize("text", ["", "48x", "0x4", "2x2x2x2", "axb", "4 x 2", "-4"])
def test_bad_torus_texts(text):
    with pytest.raises(PlanError, match="is not of the form 48x6x48"):
        parse_torus(text)


def test_ranks_that_do_not_fill_the_torus():
    with pytest.raises(PlanError, match=r"= 16 ranks do not fill the torus 4x3 with 1 per node = 12"):
        plan_torus(RankMatrix(4, 2, 2), (4, 3))


def test_factors_may_spread_over_axes():
    plan = plan_torus(RankMatrix(tp=9, dp=8, pp=1), (6, 12))
    assert plan.boxes["tp"].extents == (1, 3, 3)
    assert plan.cost("tp")[0] == 1
