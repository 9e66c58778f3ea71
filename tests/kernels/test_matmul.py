"""matmul: exact sums of small integers, errors against float64, layouts, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_inputs import values
from product_checks import assert_threads_and_strides_do_not_matter, draw_integers

from megatron_fugaku.kernels.implementations import set_implementations
from megatron_fugaku.kernels.matmul import matmul, multiply, multiply_into, operator, reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def kernels():
    """The kernels even where torch is faster."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    set_implementations({"matmul": "kernel"})
    yield
    set_implementations("auto")


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(0, 3), rows=st.integers(0, 40), columns=st.integers(0, 70), depth=st.integers(0, 600),
       turned=st.tuples(st.booleans(), st.booleans(), st.booleans()), dtype=st.sampled_from(DTYPES),
       accumulate=st.booleans())
def test_small_integers_are_multiplied_exactly(batch, rows, columns, depth, turned, dtype, accumulate):
    """Sums of integers below 2^24 have one value in any order: float64 must agree to the bit."""
    a, b, out = draw_integers(rows, batch, rows, columns, depth, turned)
    exact = a.double() @ b.double() + (out if accumulate else 0)
    result = out.float()
    operator()(a.to(dtype), b.to(dtype), result, 1.0, accumulate)
    assert torch.equal(result.double(), exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 48, 300), (65, 33, 257), (100, 145, 1000)])
def test_errors_are_those_of_float32_sums(dtype, shape):
    rows, columns, depth = shape
    a, b = values(rows, depth, dtype=dtype), values(depth, columns, dtype=dtype, seed=1)
    exact = a.double() @ b.double()
    bound = 2**-24 * depth * (a.double().abs() @ b.double().abs())
    wide = multiply_into(torch.empty(rows, columns), a, b)
    assert ((wide.double() - exact).abs() <= bound).all()
    if min(rows, columns) >= 4:
        assert torch.equal(multiply(a, b), wide.to(dtype))


def test_threads_and_strides_do_not_matter():
    assert_threads_and_strides_do_not_matter(torch.float32, 500)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_products_too(dtype):
    a, b = values(2, 9, 30, dtype=dtype).requires_grad_(), values(2, 30, 17, dtype=dtype, seed=1).requires_grad_()
    upstream = values(2, 9, 17, dtype=dtype, seed=2)
    matmul(a, b).backward(upstream)
    assert torch.equal(a.grad, multiply(upstream, b.detach().transpose(1, 2)))
    assert torch.equal(b.grad, multiply(a.detach().transpose(1, 2), upstream))


def test_gradcheck_in_float64():
    inputs = [values(5, 3).double().requires_grad_(), values(3, 4).double().requires_grad_()]
    assert torch.autograd.gradcheck(matmul, inputs)


def test_the_reference_is_the_same_sum():
    a, b = values(2, 9, 30), values(2, 30, 17, seed=1)
    for accumulate in (False, True):
        ours, theirs = values(2, 9, 17, seed=2), values(2, 9, 17, seed=2)
        operator()(a, b, ours, 1.0, accumulate)
        reference(a, b, theirs, 1.0, accumulate)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_torch_finds_the_operator_in_order():
    torch.library.opcheck(operator(), (values(2, 5, 6), values(2, 6, 7), torch.empty(2, 5, 7), 0.5, False))


def test_what_does_not_fit_is_refused():
    a, b, out = values(2, 5, 6), values(2, 6, 7), torch.empty(2, 5, 7)
    with pytest.raises(ValueError, match="cannot be multiplied"):
        matmul(a, b[:, :5])
    with pytest.raises(RuntimeError, match="must be"):
        operator()(a, b[:, :5], out, 1.0, False)
    with pytest.raises(RuntimeError, match="dtype"):
        operator()(a, b.bfloat16(), out, 1.0, False)
    with pytest.raises(RuntimeError, match="scaled"):
        operator()(a, b, out, 0.5, True)
