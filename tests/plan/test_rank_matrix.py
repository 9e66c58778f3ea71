import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.rank_matrix import Coordinate, RankMatrix

sizes = st.integers(1, 6)


@given(sizes, sizes, sizes)
def test_groups_are_those_of_megatron_core(tp, dp, pp):
    from megatron.core.parallel_state import RankGenerator

    upstream = RankGenerator(tp=tp, ep=1, dp=dp, pp=pp, cp=1, order="tp-cp-ep-dp-pp")
    ours = RankMatrix(tp, dp, pp)
    for token in ("tp", "dp", "pp", "tp-pp", "tp-dp", "tp-dp-pp"):
        assert ours.groups(*token.split("-")).tolist() == upstream.get_ranks(token), token


@given(sizes, sizes, sizes)
def test_coordinates_and_ranks_are_inverse(tp, dp, pp):
    ranks = RankMatrix(tp, dp, pp)
    for rank in range(ranks.world_size):
        where = ranks.coordinate(rank)
        assert ranks.rank(**where._asdict()) == rank
        assert ranks.matrix()[where.pp, where.dp, where.tp] == rank


def test_the_published_layout():
    ranks = RankMatrix(tp=6, dp=288, pp=8)
    assert ranks.world_size == 13824
    assert ranks.coordinate(3 * 1728 + 100 * 6 + 5) == Coordinate(tp=5, dp=100, pp=3)
    assert np.array_equal(ranks.groups("tp")[1], np.arange(6, 12))
    assert ranks.groups("dp").shape == (48, 288)
    assert ranks.groups("pp")[0].tolist() == [stage * 1728 for stage in range(8)]


def test_what_lies_outside_is_refused():
    ranks = RankMatrix(2, 2, 2)
    with pytest.raises(PlanError, match=r"rank 8 is not within 0 … 7"):
        ranks.coordinate(8)
    with pytest.raises(PlanError, match="dp coordinate 2 is not within"):
        ranks.rank(dp=2)
    with pytest.raises(PlanError, match="the tp size is 0"):
        RankMatrix(0, 1, 1)
