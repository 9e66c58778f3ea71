"""swiglu: its error against float64, gradients, shapes, threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import gradient
from kernel_inputs import wide_values as values

from megatron_fugaku.kernels.swiglu import backward_operator, operator, reference, swiglu


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


@given(num_rows=st.integers(0, 9), columns=st.integers(0, 300))
def test_float32_is_within_its_bounds(num_rows, columns):
    x, upstream = values(num_rows, 2 * columns), values(num_rows, columns, seed=1)
    gate, factor = x.double().chunk(2, -1)
    assert ((swiglu(x) - reference(x.double())).abs() <= 3e-7 * (gate * factor).abs()).all()
    found = gradient(swiglu, x, upstream)
    expected = gradient(reference, x.double(), upstream.double())
    scale = torch.cat([(upstream * factor).abs(), (upstream * gate).abs()], -1)
    assert ((found - expected).abs() <= 4e-7 * scale).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_rounded_once(op, dtype):
    x, upstream = values(70, 90, dtype=dtype), values(70, 45, dtype=dtype, seed=1)
    assert torch.equal(op(x), op(x.float()).to(dtype))
    assert torch.equal(backward_operator()(upstream, x), backward_operator()(upstream.float(), x.float()).to(dtype))


def test_strides_and_threads_do_not_matter(op):
    x, upstream = values(300, 400).t(), values(150, 400, seed=1).t()
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            results.append((op(x), backward_operator()(upstream, x)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], op(x.contiguous()))
    for result in results[1:]:
        assert torch.equal(result[0], results[0][0]) and torch.equal(result[1], results[0][1])


def test_gradcheck_in_float64():
    assert torch.autograd.gradcheck(swiglu, values(3, 6).double().requires_grad_())


def test_torch_finds_the_operators_in_order(op):
    torch.library.opcheck(op, (values(2, 4, 40).requires_grad_(),))
    torch.library.opcheck(backward_operator(), (values(20, 4).t(), values(40, 4).t()))


def test_what_does_not_fit_is_refused(op):
    with pytest.raises(ValueError, match="halves"):
        swiglu(values(3, 5))
    with pytest.raises(RuntimeError, match="even"):
        op(values(3, 5))
    with pytest.raises(RuntimeError, match="gradient"):
        backward_operator()(values(3, 4), values(3, 4))
    with pytest.raises(RuntimeError, match="dtype"):
        backward_operator()(values(3, 2).bfloat16(), values(3, 4))
