import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.plan.cost_model import FLUID, WITH_OVERHEADS
from megatron_fugaku.plan.lanes import Dimension, plan_lanes, whole_torus
from megatron_fugaku.plan.pipeline import (
    ALL_GATHER,
    ALL_REDUCE,
    LEAST_SEGMENT_BYTES,
    OPERATIONS,
    REDUCE_SCATTER,
    choose_cut,
    lane_phases,
    simulate,
)
from megatron_fugaku.plan.topology import build_torus

LINK = 6.8e9
TP6, DP288 = whole_torus(build_torus("2x3:plain")), whole_torus(build_torus("24x12l"))


@st.composite
def plans(draw):
    sizes = draw(st.lists(st.integers(2, 5), min_size=1, max_size=3))
    return plan_lanes(tuple(Dimension(axis, size, size > 2 and draw(st.booleans()), draw(st.integers(1, 2)))
                            for axis, size in enumerate(sizes)))


@given(plans(), st.integers(1, 12), st.integers(1, 3), st.sampled_from(OPERATIONS))
def test_no_cut_is_faster_than_the_busiest_link(plan, num_segments, window, operation):
    num_bytes = 1e8
    share = 1.0 if operation == ALL_REDUCE else 0.5
    least = share * plan.load * num_bytes / LINK
    assert simulate(plan, num_bytes, operation, num_segments, window, FLUID, LINK) >= least * (1 - 1e-9)
    slower = simulate(plan, num_bytes, operation, num_segments, window, WITH_OVERHEADS, LINK)
    assert slower >= least / WITH_OVERHEADS.efficiency * (1 - 1e-9)


@pytest.mark.parametrize("operation, share", [(ALL_REDUCE, 1.0), (REDUCE_SCATTER, 0.5), (ALL_GATHER, 0.5)])
@pytest.mark.parametrize("dimensions, num_bytes", [(TP6, 42.47e6), (DP288, 1.075e9)])
def test_many_segments_come_near_the_bound(dimensions, num_bytes, operation, share):
    plan = plan_lanes(dimensions)
    bound = share * plan.bound * num_bytes / LINK
    assert bound / choose_cut(plan, num_bytes, operation, FLUID, LINK).seconds >= 0.99
    # With overheads a link gives 93 % of its rate, and of that lanes get nearly all.
    assert bound / choose_cut(plan, num_bytes, operation, WITH_OVERHEADS, LINK).seconds >= 0.99 * 0.93


@pytest.mark.parametrize("dimensions, num_bytes, num_segments, simgrid_ms", [
    (TP6, 42.47e6, 64, 3.476), (TP6, 42.47e6, 4, 3.58), (DP288, 1.075e9, 64, 105.3),
    (whole_torus(build_torus("4x4x4")), 100e6, 4, 4.828), (whole_torus(build_torus("8x8x8")), 100e6, 4, 4.898)])
def test_simgrid_says_the_same(dimensions, num_bytes, num_segments, simgrid_ms):
    """Times of a prototype of these lanes, run as MPI programs on SimGrid's tori of the same links."""
    seconds = simulate(plan_lanes(dimensions), num_bytes, ALL_REDUCE, num_segments, 1, FLUID, LINK)
    assert 1e3 * seconds == pytest.approx(simgrid_ms, rel=0.015)


def test_one_lane_on_one_ring_takes_its_steps():
    plan = plan_lanes((Dimension(0, 2, False),))
    seconds = simulate(plan, 2e6, ALL_REDUCE, 1, 1, WITH_OVERHEADS, LINK)
    step = WITH_OVERHEADS.message_s + 1e6 / (LINK * WITH_OVERHEADS.efficiency) + WITH_OVERHEADS.latency(1)
    assert seconds == pytest.approx(2 * step)
    assert simulate(plan, 2e6, REDUCE_SCATTER, 1, 1, WITH_OVERHEADS, LINK) == pytest.approx(step)


def test_a_node_cannot_send_more_than_its_interfaces():
    plan = plan_lanes(whole_torus(build_torus("4x4x4")))
    busy = choose_cut(plan, 1e9, ALL_REDUCE, WITH_OVERHEADS, LINK).seconds
    assert plan.load * 1e9 / busy <= 38.1e9 / 6


def test_phases_go_out_and_back():
    assert lane_phases((2, 0), ALL_REDUCE) == [2, 0, 0, 2]
    assert lane_phases((2, 0), REDUCE_SCATTER) == [2, 0] and lane_phases((2, 0), ALL_GATHER) == [0, 2]


def test_small_vectors_are_not_cut():
    plan = plan_lanes(TP6)
    assert choose_cut(plan, 4 * LEAST_SEGMENT_BYTES, ALL_REDUCE, WITH_OVERHEADS, LINK).num_segments == 1
    assert choose_cut(plan, 42.47e6, ALL_REDUCE, WITH_OVERHEADS, LINK).num_segments > 4
    assert choose_cut(plan_lanes(()), 1e6, ALL_REDUCE, WITH_OVERHEADS, LINK).seconds == 0.0
