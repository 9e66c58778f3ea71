import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_machine import LaneMachine, iterate_steps

from megatron_fugaku.plan import collectives
from megatron_fugaku.plan.boxes import Box
from megatron_fugaku.plan.lanes import Dimension, box_dimensions, plan_lanes, whole_torus
from megatron_fugaku.plan.pipeline import OPERATIONS
from megatron_fugaku.plan.topology import build_torus


@st.composite
def dimensions(draw, most_nodes=72, sharing=1):
    sizes, product = [], 1
    for size in draw(st.lists(st.integers(2, 6), min_size=1, max_size=4)):
        if product * size <= most_nodes:
            sizes.append(size)
            product *= size
    return tuple(Dimension(axis, size, size > 2 and draw(st.booleans()), draw(st.integers(1, sharing)))
                 for axis, size in enumerate(sizes))


@pytest.mark.parametrize("text, num_ports, num_lanes", [
    ("2x3:plain", 3, 3), ("2x3x2:plain", 4, 4), ("4x4x4", 6, 6), ("24x12l", 3, 3), ("24x2x3lx2", 5, 5),
    ("24x2x24x2x3x2", 6, 6), ("8x8x8", 6, 6), ("48x6x48", 6, 6), ("12x12x12:plain", 6, 6), ("64x64", 4, 4)])
def test_lanes_reach_the_lower_bound(text, num_ports, num_lanes):
    torus = build_torus(text)
    plan = plan_lanes(whole_torus(torus))
    p = torus.num_nodes
    assert plan.bound == pytest.approx(2 * (p - 1) / p / num_ports, rel=1e-12)
    assert plan.load == pytest.approx(plan.bound, rel=1e-9)
    assert len(plan.lanes) == num_lanes


@given(dimensions(most_nodes=10**6, sharing=3))
def test_shares_add_up_and_nothing_beats_the_bound(drawn):
    plan = plan_lanes(drawn)
    assert sum(lane.weight for lane in plan.lanes) == pytest.approx(1.0) and min(lane.weight for lane in plan.lanes) > 0
    assert plan.load >= plan.bound * (1 - 1e-9)


@given(dimensions(sharing=3), st.integers(0, 2**32 - 1))
def test_no_other_shares_load_the_busiest_link_less(drawn, seed):
    """Shares drawn at random over all orders and directions are never better than the planned ones."""
    def load_of(shares):
        loads = dict.fromkeys(itertools.product(range(len(drawn)), (1, -1)), 0.0)
        for (order, direction), share in shares.items():
            left = share
            for index in order:
                size = drawn[index].size
                for way in ((direction,) if drawn[index].closes else (1, -1)):
                    loads[index, way] += 2 * left * (size - 1) / size * drawn[index].sharing
                left /= size
        return max(loads.values())

    plan = plan_lanes(drawn)
    assert load_of({(lane.order, lane.directions[0]): lane.weight for lane in plan.lanes}) == pytest.approx(plan.load)
    ways = list(itertools.product(itertools.permutations(range(len(drawn))), (1, -1)))
    random = np.random.default_rng(seed)
    for _ in range(20):
        shares = random.dirichlet(np.full(len(ways), random.choice([0.05, 1.0])))
        assert load_of(dict(zip(ways, shares, strict=True))) >= plan.load * (1 - 1e-9)


def test_equal_shares_are_not_enough_where_axes_differ():
    """On 2 x 3 nodes, equal shares for the two rotations use four fifths of what the weights use."""
    plan = plan_lanes((Dimension(0, 2, False), Dimension(1, 3, True)))
    a_first, b_first = 2 * 1 / 2, 2 * (1 / 3) * 1 / 2  # bytes on the link of axis 0
    equal = (a_first + b_first) / 2
    assert plan.load / equal == pytest.approx(5 / 6)


def test_interfaces_limit_a_node_of_many_ports():
    torus = build_torus("4x4x4x4")
    assert plan_lanes(whole_torus(torus), 6).load == pytest.approx(2 * 255 / 256 / 6)
    assert plan_lanes(whole_torus(torus), 8).load == pytest.approx(2 * 255 / 256 / 8)


def test_boxes_know_their_ways_round_and_whom_they_share_links_with():
    torus = build_torus("6x6l")
    box = Box((1, 3, 6), (1, 2, 1), (1, 2))
    assert box_dimensions(box, torus) == (Dimension(0, 3, True, 2), Dimension(1, 6, False, 1))
    # Two members half a ring apart have no second way, nor has a part of a ring.
    assert box_dimensions(Box((1, 2, 1), (1, 3, 1), (1,)), torus) == (Dimension(0, 2, False, 3),)
    assert box_dimensions(Box((1, 3, 1), (1, 1, 1), (1,)), torus) == (Dimension(0, 3, False, 1),)
    # Of four ranks on a node two belong to each group: both groups' bytes pass the same links.
    assert box_dimensions(Box((2, 6, 1), (1, 1, 1), (0, 1)), torus, 4) == (Dimension(0, 6, True, 2),)


def test_a_group_inside_a_node_has_no_lanes():
    assert plan_lanes(()).lanes == () and plan_lanes(()).load == 0.0


@settings(max_examples=150)
@given(dimensions(), st.sampled_from(OPERATIONS), st.integers(0, 2**32 - 1))
def test_every_lane_moves_the_right_data_everywhere(drawn, operation, seed):
    for lane in plan_lanes(drawn).lanes:
        check_lane(drawn, lane, operation, seed)


@pytest.mark.parametrize("text, lanes", [("12x12x12:plain", slice(0, 1)), ("24x2x3lx2", slice(None)),
                                         ("2x3:plain", slice(None)), ("24x12l", slice(None))])
def test_lanes_of_large_groups_move_the_right_data(text, lanes):
    drawn = whole_torus(build_torus(text))
    for lane in plan_lanes(drawn).lanes[lanes]:
        check_lane(drawn, lane, "all_reduce", 1)


@pytest.mark.parametrize("text", ["2x3:plain", "4x4x4", "24x2x3lx2", "24x12l", "5x2l"])
def test_every_link_carries_the_bytes_of_the_model(text):
    """All messages of all lanes, as carried out, against the pattern that the link-load model measures."""
    torus = build_torus(text)
    plan = plan_lanes(whole_torus(torus))
    nodes = np.arange(torus.num_nodes)
    total = 0.0
    for lane in plan.lanes:
        machine = LaneMachine(plan, lane)
        machine.run("all_reduce")
        carried = 0.0
        for (index, direction), share in machine.sent.items():
            target = np.roll(nodes.reshape(torus.sizes), -direction, axis=index).ravel()
            carried += torus.link_loads(nodes, target, lane.weight * share.ravel())
        # Lane by lane: all together load all links alike, and would hide a wrong direction.
        stage, = collectives.lanes(replace(plan, lanes=(lane,)), torus.coordinates(nodes))
        assert np.allclose(carried, torus.link_loads(stage.source, stage.target, stage.share))
        total += carried
    assert total.max() == pytest.approx(plan.load)


def check_lane(drawn, lane, operation, seed):
    plan = plan_lanes(drawn)
    machine = LaneMachine(plan, lane, seed)
    if operation == "all_gather":
        machine.scatter()
    machine.run(operation)
    values = machine.values.reshape(machine.num_nodes, machine.num_nodes)
    total = machine.total.ravel()
    if operation == "reduce_scatter":
        assert np.array_equal(np.diagonal(values), total)
        held = machine.holds.reshape(values.shape)
        assert held.diagonal().all() and held.sum() == machine.num_nodes
    else:
        assert np.array_equal(values, np.broadcast_to(total, values.shape))
    # Every node sends the same, and as much as the plan counts.
    factor, left = 2.0 if operation == "all_reduce" else 1.0, 1.0
    for index, direction in zip(lane.order, lane.directions, strict=True):
        size = drawn[index].size
        assert np.allclose(machine.sent[index, direction], factor * left * (size - 1) / size)
        left /= size


@settings(max_examples=50)
@given(dimensions(), st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 3))
def test_segments_come_to_an_end_in_any_order_of_events(drawn, seed, num_segments, window):
    assert rendezvous_ends(plan_lanes(drawn), num_segments, window, seed)


def test_segments_of_the_whole_machine_come_to_an_end():
    plan = plan_lanes(whole_torus(build_torus("24x2x24x2x3x2")))
    assert plan.num_nodes == 13824 and rendezvous_ends(plan, 2, 1, 0)


def rendezvous_ends(plan, num_segments, window, seed):
    """Let nodes post their steps at random moments; a step is over when both neighbours have posted it too."""
    random = np.random.default_rng(seed)
    sizes = tuple(dimension.size for dimension in plan.dimensions)
    steps = [list(iterate_steps(plan, lane, "all_reduce")) for lane in plan.lanes]
    # Messages until a segment has left the phase that a step belongs to; the next segment may follow then.
    leaves = []
    for row in steps:
        ends = [number + 1 for number in range(len(row)) if number + 1 == len(row) or row[number + 1][3] == 0]
        leaves.append(np.array([next(end for end in ends if end > number) for number in range(len(row))]))
    done = np.zeros((len(steps), num_segments, *sizes), np.int64)
    posted = np.zeros_like(done)
    for turn in range(100_000):
        before = done.sum(), posted.sum()
        # Now and then everybody has a turn; if nothing happens then, nothing ever will.
        all_active = turn % 8 == 0
        for lane, segment in itertools.product(range(len(steps)), range(num_segments)):
            row = steps[lane]
            active = (random.random(sizes) < 0.8) | all_active
            at = np.minimum(done[lane, segment], len(row) - 1)
            allowed = active & (posted[lane, segment] == done[lane, segment]) & (done[lane, segment] < len(row))
            if segment >= window:
                allowed &= done[lane, segment - window] >= leaves[lane][at]
            posted[lane, segment] += allowed
            waiting = posted[lane, segment] > done[lane, segment]
            over = np.zeros(sizes, bool)
            for index, direction in {(step[0], step[1]) for step in row}:
                here = waiting & np.isin(at, [number for number, step in enumerate(row) if step[0] == index])
                behind, ahead = (np.roll(posted[lane, segment], sign * direction, axis=index) for sign in (1, -1))
                over |= here & (behind > done[lane, segment]) & (ahead > done[lane, segment])
            done[lane, segment] += over
        if all((done[lane] == len(row)).all() for lane, row in enumerate(steps)):
            return True
        if all_active and before == (done.sum(), posted.sum()):
            return False
    return False
