import numpy as np
import pytest

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.tofu import build_tofu, fold_axis


@pytest.mark.parametrize("unit", [2, 3])
@pytest.mark.parametrize("num_units", [1, 2, 3, 4, 5, 24])
def test_a_fold_is_a_closed_walk_of_neighbours(num_units, unit):
    fold = fold_axis(num_units, unit)
    assert len(np.unique(fold, axis=0)) == num_units * unit
    steps = np.abs(fold - np.roll(fold, -1, axis=0))
    steps[:, 1] = np.minimum(steps[:, 1], unit - steps[:, 1])  # B is a ring
    assert (steps.sum(axis=1) == 1).all()


def test_folds_are_those_that_real_jobs_print():
    # x and a of the first 16 ranks of a 16x8x16 job, less its corner.
    printed = [(x, 0) for x in range(8)] + [(x, 1) for x in reversed(range(8))]
    assert fold_axis(8, 2).tolist() == [list(place) for place in printed]


def test_the_network_of_the_13b_run():
    torus = build_tofu((48, 6, 48))
    assert torus.num_nodes == 13824 and torus.sizes == (24, 2, 24, 2, 3, 2) and torus.logical_sizes == (48, 6, 48)
    assert [axis.num_ports for axis in torus.axes] == [2, 1, 2, 1, 2, 1]
    assert torus.describe() == "48x6x48 on Tofu-D: X24 Y2 Z24 A2 B3 C2"
    assert [torus.axes[index].name for index in torus.routing] == list("XYZACB")


def test_a_part_of_the_machine_has_open_axes():
    torus = build_tofu((24, 12, 24))
    assert [axis.num_ports for axis in torus.axes] == [1, 1, 1, 1, 2, 1]
    assert torus.describe() == "24x12x24 on Tofu-D: X12 Y4 Z12 A2 B3 C2 (X, Y, Z open)"


@pytest.mark.parametrize("job", [(2, 3, 2), (4, 9, 6), (48, 6, 48)])
def test_logical_neighbours_are_physical_ones(job):
    torus = build_tofu(job)
    places = np.stack(np.unravel_index(np.arange(torus.num_nodes), job), axis=1)
    physical = torus.to_physical(places)
    assert np.array_equal(torus.to_logical(physical), places)
    nodes = torus.nodes(physical)
    assert len(np.unique(nodes)) == torus.num_nodes
    for axis in range(3):
        beyond = places.copy()
        beyond[:, axis] = (beyond[:, axis] + 1) % job[axis]
        assert (torus.hops(nodes, torus.nodes(torus.to_physical(beyond))) == 1).all()


@pytest.mark.parametrize("job", [(3, 3, 2), (2, 4, 2), (50, 3, 2), (2, 72, 2), (6, 6)])
def test_shapes_that_are_not_whole_units(job):
    with pytest.raises(PlanError, match="is not made of whole Tofu units of 2x3x2 nodes"):
        build_tofu(job)
