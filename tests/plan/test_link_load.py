import numpy as np
import pytest

from megatron_fugaku.plan.collectives import Stage, ring
from megatron_fugaku.plan.cost_model import FLUID, WITH_OVERHEADS, CostModel
from megatron_fugaku.plan.link_load import measure_pattern, pattern_seconds
from megatron_fugaku.plan.topology import build_torus

RING8 = build_torus("8")


def test_groups_that_interleave_share_links():
    alone, = measure_pattern(RING8, np.array([[0, 2, 4, 6]]), ring(4))
    both, = measure_pattern(RING8, np.array([[0, 2, 4, 6], [1, 3, 5, 7]]), ring(4))
    assert (alone.link, both.link) == (0.25, 0.5)
    assert (both.node, both.hops, both.messages, both.repeats) == (0.25, 2, 1, 6)


def test_what_stays_on_a_node_costs_nothing():
    assert measure_pattern(RING8, np.array([[3, 3, 3]]), ring(3)) == ()
    assert pattern_seconds(RING8, (), 1e9, WITH_OVERHEADS) == 0.0


def test_time_follows_from_bytes_and_latency():
    loads = measure_pattern(RING8, np.array([[0, 2, 4, 6]]), ring(4))
    assert pattern_seconds(RING8, loads, 4e6, FLUID) == pytest.approx(6 * 1e6 / 6.8e9)
    step = 1e6 / (0.93 * 6.8e9) + 0.49e-6 + 0.1e-6 + 0.5e-6
    assert pattern_seconds(RING8, loads, 4e6, WITH_OVERHEADS) == pytest.approx(6 * step)


def test_interfaces_limit_what_a_node_sends():
    torus = build_torus("2x2x2x2")
    everybody = Stage(np.zeros(4, np.int64), np.array([1, 2, 4, 8]), 1.0)
    loads = measure_pattern(torus, np.arange(16)[None], (everybody,))
    two = CostModel("two interfaces", injection_links=2.0)
    assert pattern_seconds(torus, loads, 6.8e9, FLUID) == pytest.approx(1.0)
    assert pattern_seconds(torus, loads, 6.8e9, two) == pytest.approx(2.0)
