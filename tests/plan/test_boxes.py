import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.plan.boxes import Box, best_walk, iterate_splits, nestings, ring_cost


def hops(one, other, sizes, rings):
    distance = np.abs(one - other)
    return np.where(rings, np.minimum(distance, np.array(sizes) - distance), distance)[..., 1:].sum(axis=-1)


@st.composite
def boxes(draw):
    """A box, the axes it lies on (the first inside a node), and which of them are closed."""
    extents = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    strides = [draw(st.integers(1, 3)) if extent > 1 else 1 for extent in extents]
    sizes = [extent * stride * draw(st.integers(1, 2)) for extent, stride in zip(extents, strides, strict=True)]
    order = draw(st.permutations([axis for axis, extent in enumerate(extents) if extent > 1]))
    rings = [False, *draw(st.lists(st.booleans(), min_size=len(sizes) - 1, max_size=len(sizes) - 1))]
    return Box(tuple(extents), tuple(strides), tuple(order)), tuple(sizes), tuple(rings)


@given(boxes())
def test_a_walk_visits_every_place_and_changes_one_axis_at_a_time(drawn):
    box, sizes, _ = drawn
    walk = box.walk()
    assert len(np.unique(walk, axis=0)) == box.size and (walk < np.array(sizes)).all()
    steps = np.abs(np.diff(walk, axis=0))
    assert ((steps > 0).sum(axis=1) == 1).all() and (steps.max(axis=0, initial=0) <= box.strides).all()


@given(boxes())
def test_a_ring_costs_what_its_hops_say(drawn):
    box, sizes, rings = drawn
    walk = box.walk()
    steps, closing = hops(walk[1:], walk[:-1], sizes, rings), hops(walk[-1], walk[0], sizes, rings)
    longest, total, closed_by = ring_cost(box.extents, box.strides, box.order, sizes, rings)
    assert longest == steps.max(initial=0) and closed_by == closing and total == steps.sum() + closing


def test_the_best_walk_closes_where_it_can():
    # Through B first the way back from the second row ends beside the start; through A first it does not.
    (longest, total), box = best_walk((1, 2, 3), (1, 1, 1), (1, 2, 3), (False, True, True))
    assert (longest, total) == (1, 6) and box.order == (2, 1)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.data())
def test_splits_fill_the_axes(sizes, data):
    rest = int(np.prod(sizes))
    tp = data.draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
    dp = data.draw(st.sampled_from([d for d in range(1, rest // tp + 1) if rest // tp % d == 0]))
    wanted = (tp, dp, rest // tp // dp)
    splits = list(iterate_splits(tuple(sizes), wanted))
    assert len(set(splits)) == len(splits) >= 1
    for split in splits:
        assert np.prod(split, axis=0).tolist() == list(wanted) and np.prod(split, axis=1).tolist() == sizes


def test_nestings_are_the_orders_of_what_is_there():
    assert nestings((1, 1, 5)) == ((1, 1, 1),)
    assert set(nestings((2, 3, 1))) == {(1, 2, 1), (3, 1, 1)}
    assert len(nestings((2, 3, 4))) == 6
