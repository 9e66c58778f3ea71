import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.plan import collectives
from megatron_fugaku.plan.collectives import bucket, find_grid, fujitsu_rules, recursive_doubling, ring, trinary
from megatron_fugaku.plan.lanes import plan_lanes, whole_torus
from megatron_fugaku.plan.topology import build_torus

grids = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def bytes_sent(pattern, num_members):
    sent = np.zeros(num_members)
    for stage in pattern:
        np.add.at(sent, stage.source, np.broadcast_to(stage.share, stage.source.shape) * stage.repeats)
    return sent


@given(st.integers(1, 40))
def test_a_ring_sends_no_more_than_it_must(p):
    assert np.allclose(bytes_sent(ring(p), p), 2 * (p - 1) / p)


@given(st.integers(1, 70))
def test_recursive_doubling_brings_everything_to_everybody(p):
    heard = np.eye(p, dtype=bool)
    for stage in recursive_doubling(p):
        assert stage.repeats == 1 and len(set(stage.target.tolist())) == len(stage.target)
        new = heard.copy()
        new[stage.target] |= heard[stage.source]
        heard = new
    assert heard.all()


@given(grids, st.randoms(use_true_random=False))
def test_a_grid_is_found_whatever_the_order_of_its_members(shape, random):
    places = np.stack(np.unravel_index(np.arange(int(np.prod(shape))), shape), axis=1) * 3 + 1
    order = list(range(len(places)))
    random.shuffle(order)
    grid = find_grid(places[order])
    assert grid.shape == tuple(size for size in shape if size > 1)
    assert np.array_equal(places[order][grid.ravel()], places)


def test_what_is_no_grid():
    assert find_grid(np.array([[0, 0], [0, 1], [1, 0]])) is None
    assert find_grid(np.array([[0, 0], [1, 1]])) is None
    assert find_grid(np.array([[0, 0], [0, 0], [0, 1], [1, 0]])) is None


@given(grids)
def test_buckets_send_what_a_ring_sends(shape):
    grid = np.arange(int(np.prod(shape))).reshape(shape).squeeze()
    for pattern in bucket(grid):
        assert np.allclose(bytes_sent(pattern, grid.size), 2 * (grid.size - 1) / grid.size)


def test_three_trees_share_the_vector():
    grid = np.arange(24).reshape(2, 3, 4)
    reduction, broadcast = trinary(grid)
    assert np.array_equal(reduction.source, broadcast.target) and broadcast.share == pytest.approx(1 / 3)
    edges = set(zip(broadcast.source.tolist(), broadcast.target.tolist(), strict=True))
    assert len(edges) == len(broadcast.source) == 24 * 3 - (12 + 8 + 6)
    assert broadcast.depth == 1 + 2 + 3
    line, = {stage.share for stage in trinary(np.arange(5))}
    assert line == 1 / 2  # both directions of one axis


@pytest.mark.parametrize("members, num_bytes, is_grid, names", [
    (6, 42e6, True, ("ring",)), (32, 32 * 8192, True, ("ring",)), (33, 1e9, True, ("trinary",)),
    (288, 1e9, False, ("ring",)), (15361, 1e9, True, ("ring",)), (6, 1024, True, ("ring", "doubling")),
    (288, 1024, True, ("trinary", "doubling"))])
def test_the_rules(members, num_bytes, is_grid, names):
    assert fujitsu_rules(members, num_bytes, is_grid) == names


@pytest.mark.parametrize("text", ["2x3:plain", "4x4x4", "5x2x3l"])
def test_lanes_send_what_a_ring_sends(text):
    torus = build_torus(text)
    plan = plan_lanes(whole_torus(torus))
    pattern = collectives.lanes(plan, torus.coordinates(np.arange(torus.num_nodes)))
    assert np.allclose(bytes_sent(pattern, torus.num_nodes), 2 * (torus.num_nodes - 1) / torus.num_nodes)
    assert collectives.lanes(plan_lanes(()), np.zeros((3, 0), np.int64)) == ()
