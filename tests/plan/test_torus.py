import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.plan.torus import DOWN, UP, Axis, Torus


@st.composite
def tori(draw):
    axes = [Axis("XYZU"[index], size, draw(st.booleans()))
            for index, size in enumerate(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))]
    return Torus(tuple(axes), tuple(draw(st.permutations(range(len(axes))))))


def route(torus, source, target):
    """The links of one message, one hop at a time."""
    here, there = (torus.coordinates(np.array([node]))[0] for node in (source, target))
    for index in torus.routing or range(len(torus.axes)):
        steps = int(torus.steps(index, here[index], there[index]))
        for _ in range(abs(steps)):
            yield int(torus.nodes(here)), index, UP if steps > 0 else DOWN
            here[index] = (here[index] + np.sign(steps)) % torus.sizes[index]
    assert (here == there).all()


@given(tori(), st.integers(0, 2**32 - 1))
def test_links_carry_what_goes_along_them(torus, seed):
    random = np.random.default_rng(seed)
    source, target = random.integers(torus.num_nodes, size=(2, 30))
    num_bytes = random.integers(1, 1000, size=30)
    expected = np.zeros((torus.num_nodes, len(torus.axes), 2))
    for one, other, size in zip(source, target, num_bytes, strict=True):
        for link in route(torus, one, other):
            expected[link] += size
    loads = torus.link_loads(source, target, num_bytes)
    assert np.array_equal(loads, expected)
    assert loads.sum() == (torus.hops(source, target) * num_bytes).sum()


@given(tori())
def test_no_way_is_shorter(torus):
    nodes = np.arange(torus.num_nodes)
    one, other = np.repeat(nodes, len(nodes)), np.tile(nodes, len(nodes))
    here, there = torus.coordinates(one), torus.coordinates(other)
    straight = np.abs(here - there)
    around = np.array(torus.sizes) - straight
    closed = np.array([axis.closes for axis in torus.axes])
    shortest = np.where(closed, np.minimum(straight, around), straight).sum(axis=1)
    assert np.array_equal(torus.hops(one, other), shortest)


@given(tori())
def test_numbers_and_coordinates_are_inverse(torus):
    nodes = np.arange(torus.num_nodes)
    assert np.array_equal(torus.nodes(torus.coordinates(nodes)), nodes)
    assert torus.coordinates(nodes).tolist() == [list(place) for place in
                                                 itertools.product(*map(range, torus.sizes))]


@pytest.mark.parametrize("axis, ports", [(Axis("X", 1), 0), (Axis("X", 2), 1), (Axis("X", 3), 2),
                                         (Axis("X", 3, False), 1)])
def test_ports(axis, ports):
    assert axis.num_ports == ports


def test_nobody_goes_around_a_line_and_half_way_round_both_ways_are_used():
    line, ring = Torus((Axis("X", 4, False),)), Torus((Axis("X", 4),))
    assert line.hops(np.array([3]), np.array([0])) == 3 and ring.hops(np.array([3]), np.array([0])) == 1
    loads = ring.link_loads(np.array([0, 2]), np.array([2, 0]), 1.0)
    assert loads[:, 0, UP].tolist() == [1, 1, 0, 0] and loads[:, 0, DOWN].tolist() == [0, 1, 1, 0]


def test_the_order_of_axes_decides_which_links_carry():
    axes = (Axis("X", 3), Axis("Y", 3))
    for routing, link in (((0, 1), (0, 0, UP)), ((1, 0), (0, 1, UP))):
        assert Torus(axes, routing).link_loads(np.array([0]), np.array([4]), 5.0)[link] == 5.0
