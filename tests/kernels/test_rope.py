"""rope: its error against float64, both layouts, parts of a head, strides, threads, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import gradient, values

from megatron_fugaku.kernels.rope import operator, reference, rope


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


def make_tables(positions: int, pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    angles = values(positions, pairs, seed=9, size=10.0)
    return angles.cos(), angles.sin()


def sums_of_pairs(x: torch.Tensor, pairs: int, interleaved: bool) -> torch.Tensor:
    """|a| + |b| of each pair in the places of both, and 0 behind them."""
    turned, rest = x[..., :2 * pairs].abs(), torch.zeros_like(x[..., 2 * pairs:])
    a, b = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    both = torch.stack((a + b,) * 2, -1).flatten(-2) if interleaved else torch.cat((a + b,) * 2, -1)
    return torch.cat((both, rest), -1)


@given(st.integers(0, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 70), st.integers(0, 5), st.booleans())
def test_float32_is_within_its_bounds(positions, batch, heads, pairs, rest, interleaved):
    x, tables = values(positions, batch, heads, 2 * pairs + rest), make_tables(positions, pairs)
    upstream = values(*x.shape, seed=2)
    of_x = gradient(lambda x: rope(x, *tables, interleaved), x, upstream)
    for found, given_x, inverse in ((rope(x, *tables, interleaved), x, False), (of_x, upstream, True)):
        exact = reference(given_x.double(), *tables, interleaved, inverse)
        assert ((found - exact).abs() <= 1.2e-7 * sums_of_pairs(given_x, pairs, interleaved)).all()
    assert rope(x, *tables, interleaved).is_contiguous()


@pytest.mark.parametrize("interleaved", [False, True])
def test_turning_back_gives_what_there_was(op, interleaved):
    x, tables = values(7, 2, 3, 80), make_tables(7, 40)
    back = op(op(x, *tables, interleaved, False), *tables, interleaved, True)
    torch.testing.assert_close(back, x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_rounded_once(op, dtype, interleaved):
    x, tables = values(7, 2, 3, 90, dtype=dtype), make_tables(7, 40)
    assert torch.equal(op(x, *tables, interleaved, False), op(x.float(), *tables, interleaved, False).to(dtype))


def test_strides_and_threads_do_not_matter(op):
    mixed, tables = values(200, 2, 5, 3 * 64), make_tables(200, 32)
    query = mixed[..., 64:128]
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            results.append(op(query, *tables, False, False))
    finally:
        torch.set_num_threads(before)
    for result in results:
        assert torch.equal(result, op(query.contiguous(), *tables, False, False))
    turned = values(200, 2, 64, 5).transpose(2, 3)
    assert torch.equal(op(turned, *tables, True, False), op(turned.contiguous(), *tables, True, False))


@pytest.mark.parametrize("interleaved", [False, True])
def test_gradcheck_in_float64(interleaved):
    tables = make_tables(3, 2)
    x = values(3, 1, 2, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rope(x, *tables, interleaved), x)


def test_it_is_megatrons_formula(op):
    from megatron.core.models.common.embeddings.rope_utils import _apply_rotary_pos_emb_bshd

    x, angles = values(9, 2, 3, 24), values(9, 8, seed=1)
    for interleaved in (False, True):
        freqs = torch.stack((angles, angles), -1).flatten(1) if interleaved else torch.cat((angles, angles), -1)
        expected = _apply_rotary_pos_emb_bshd(x, freqs[:, None, None], rotary_interleaved=interleaved)
        torch.testing.assert_close(rope(x, angles.cos(), angles.sin(), interleaved), expected, atol=2e-6, rtol=1e-6)


def test_torch_finds_the_operator_in_order(op):
    tables = make_tables(4, 3)
    torch.library.opcheck(op, (values(4, 2, 3, 8).requires_grad_(), *tables, False, False))
    torch.library.opcheck(op, (values(8, 3, 2, 4).permute(3, 2, 1, 0), *tables, True, True))


def test_what_does_not_fit_is_refused(op):
    x, tables = values(4, 2, 3, 8), make_tables(4, 3)
    with pytest.raises(ValueError, match="do not fit"):
        rope(x[0], *tables)
    with pytest.raises(ValueError, match="do not fit"):
        rope(x, *make_tables(4, 5))
    with pytest.raises(ValueError, match="do not fit"):
        rope(x, *make_tables(3, 3))
    for wrong in ((x[0], *tables), (x, *make_tables(5, 3)), (x, tables[0].double(), tables[1]),
                  (x, tables[0], make_tables(4, 2)[1]), (x, *make_tables(4, 5))):
        with pytest.raises(RuntimeError, match="must be"):
            op(*wrong, False, False)
