"""Tori with ranks that fill them, drawn for property tests."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.tofu import build_tofu
from megatron_fugaku.plan.torus import Axis, Torus
from megatron_fugaku.plan.traffic import Phase, Traffic


@st.composite
def layouts(draw, most_ranks=1024, per_node=(1, 2, 4), tofu=True):
    """(rank matrix, torus, ranks per node)."""
    ranks_per_node = draw(st.sampled_from(per_node))
    if tofu and draw(st.booleans()):
        torus = build_tofu(draw(st.sampled_from([(2, 3, 2), (4, 3, 2), (4, 6, 4), (6, 3, 8), (48, 3, 2)])))
    else:
        sizes = draw(st.lists(st.sampled_from((2, 3, 4, 6, 8, 1, 5)), min_size=1, max_size=3))
        torus = Torus(tuple(Axis(name, size, draw(st.booleans())) for name, size in zip("XYZ", sizes, strict=False)))
    world_size = torus.num_nodes * ranks_per_node
    assume(world_size <= most_ranks)
    tp = draw(st.sampled_from([d for d in range(1, world_size + 1) if world_size % d == 0]))
    rest = world_size // tp
    dp = draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
    return RankMatrix(tp, dp, rest // dp), torus, ranks_per_node


@st.composite
def traffics(draw):
    """What a step sends, with or without each kind of phase."""
    counts = {"tp": 140, "pp": 14, "dp": 1, "embedding": 1}
    kinds = draw(st.lists(st.sampled_from(sorted(counts)), unique=True, min_size=1))
    return Traffic("drawn", tuple(Phase(kind, draw(st.sampled_from((1e5, 4e7, 1e9))), counts[kind])
                                  for kind in sorted(kinds)))
