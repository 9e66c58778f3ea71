import pytest

from megatron_fugaku.plan.compare import Comparison, render_variants
from megatron_fugaku.plan.cost_model import FLUID, WITH_OVERHEADS
from megatron_fugaku.plan.map_search import search_map
from megatron_fugaku.plan.rank_map import row_order
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.step_time import FLAT_RINGS, FUJITSU, LANES, StepModel
from megatron_fugaku.plan.topology import build_torus
from megatron_fugaku.plan.traffic import Phase, Traffic

ACTIVATIONS, GRADIENTS, LINK = 42_467_328, 1_075_697_280, 6.8e9
TRAFFIC = Traffic("middle", (Phase("tp", ACTIVATIONS, 140), Phase("pp", ACTIVATIONS, 14), Phase("dp", GRADIENTS, 1)))
RANKS, TORUS = RankMatrix(6, 288, 8), build_torus("48x6x48")


@pytest.fixture(scope="module")
def comparison():
    return Comparison(search_map(RANKS, TORUS, TRAFFIC).rank_map)


def test_row_order_with_flat_rings_shares_links_six_times():
    """By hand: TP groups are neighbours along X; DP steps go six hops, and the six groups between share them."""
    seconds = StepModel(TORUS, RANKS, row_order(TORUS)).step(TRAFFIC, FLAT_RINGS, FLUID).seconds
    assert seconds["tp"] == pytest.approx(140 * 2 * ACTIVATIONS * 5 / 6 / LINK)
    assert seconds["dp"] == pytest.approx(6 * 2 * GRADIENTS * 287 / 288 / LINK)
    assert seconds["pp"] == pytest.approx(14 * 6 * ACTIVATIONS / LINK)


def test_simgrid_says_the_same_of_a_crowded_network():
    """1,728 ranks of one stage in row order, six DP rings at a time, as MPI programs on SimGrid's torus: 1,907 ms."""
    model = StepModel(TORUS, RANKS, row_order(TORUS))
    assert model.collective_seconds("dp", GRADIENTS, FLAT_RINGS, FLUID) == pytest.approx(1.907, rel=0.01)


def test_fujitsu_rules_in_row_order():
    """Three trees, reduction and broadcast after each other, X edges shared by six groups."""
    seconds = StepModel(TORUS, RANKS, row_order(TORUS)).step(TRAFFIC, FUJITSU, FLUID).seconds
    assert seconds["dp"] == pytest.approx(2 * 6 * GRADIENTS / 3 / LINK)
    assert seconds["tp"] == pytest.approx(140 * 2 * ACTIVATIONS * 5 / 6 / LINK)


def test_a_step_on_the_searched_map(comparison):
    model = comparison.model_of("searched map")
    for dimension in ("tp", "dp"):
        load, = model.lane_loads(dimension)
        assert load.link == pytest.approx(model.rank_map.lanes(dimension).load, rel=1e-9)
    fluid, slower = (model.step(TRAFFIC, LANES, cost) for cost in (FLUID, WITH_OVERHEADS))
    assert fluid.seconds["tp"] == pytest.approx(140 * 2 * ACTIVATIONS * 5 / 6 / 3 / LINK, rel=0.01)
    assert fluid.total == pytest.approx(sum(fluid.seconds.values()))
    assert fluid.collectives == fluid.seconds["tp"] + fluid.seconds["dp"]
    assert 1 / 0.93 < slower.total / fluid.total < 1.1


def test_variants_and_their_table(comparison):
    variants = comparison.variants(TRAFFIC, FLUID, {"16-bit": 0.5})
    assert [variant.name for variant in variants] == [
        "row order, flat rings", "row order, modelled Fujitsu MPI", "searched map, flat rings",
        "searched map, modelled Fujitsu MPI", "searched map, lanes", "searched map, lanes, 16-bit"]
    assert variants[-1].time.total == pytest.approx(variants[-2].time.total / 2)
    header, *rows = render_variants(variants).splitlines()
    assert header.split()[3:] == ["TP", "PP", "DP", "sum", "ratio"] and len({len(row) for row in rows}) == 1
    assert rows[-1].split()[-1] == "1.00" and rows[-2].split()[-1] == "2.00"


def test_small_vectors_and_one_rank(comparison):
    model = comparison.model_of("row order")
    ring = model.collective_seconds("dp", 1024, FLAT_RINGS, WITH_OVERHEADS)
    assert model.collective_seconds("dp", 1024, FUJITSU, WITH_OVERHEADS) < ring / 10
    assert model.doubling_seconds("dp", 1024, WITH_OVERHEADS) < ring
    with pytest.raises(ValueError, match="lanes need boxes"):
        model.collective_seconds("dp", 1024, LANES, FLUID)
    alone = StepModel(build_torus("1"), RankMatrix(1, 1, 1), row_order(build_torus("1")))
    assert alone.step(Traffic("", (Phase("tp", 1.0, 1), Phase("pp", 1.0, 1))), FUJITSU, FLUID).total == 0.0


def test_the_interleaved_schedule_also_goes_from_last_to_first():
    """On a line that way is the longest one, and it has the links of the other direction for itself."""
    torus, ranks = build_torus("4l"), RankMatrix(1, 1, 4)
    model = StepModel(torus, ranks, row_order(torus))
    traffics = [Traffic("", (Phase("pp", LINK, 2, wraps),)) for wraps in (False, True)]
    assert [model.step(traffic, FLAT_RINGS, FLUID).total for traffic in traffics] == [2.0, 2.0]
    direct, around = (model.step(traffic, FLAT_RINGS, WITH_OVERHEADS).total for traffic in traffics)
    assert around - direct == pytest.approx(2 * 2 * WITH_OVERHEADS.hop_s)
