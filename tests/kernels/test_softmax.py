"""softmax: its error against float64, gradients, what a row sees, shapes, threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import gradient
from kernel_inputs import wide_values as values

from megatron_fugaku.kernels.softmax import backward_operator, operator, reference, softmax


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


@given(queries=st.integers(0, 40), more_keys=st.integers(1, 300), causal=st.booleans(),
       scale=st.sampled_from([1.0, 0.125, 3.0]))
def test_float32_is_within_its_bounds(queries, more_keys, causal, scale):
    x, upstream = values(2, queries, queries + more_keys), values(2, queries, queries + more_keys, seed=1)
    exact = reference(x.double(), scale, causal)
    bound = (5e-7 + 8e-8 * scale * (x.amax(-1, keepdim=True) - x).double()) * exact + 5e-38
    assert ((softmax(x, scale, causal) - exact).abs() <= bound).all()
    expected = gradient(lambda t: reference(t, scale, causal), x.double(), upstream.double())
    found = gradient(lambda t: softmax(t, scale, causal), x, upstream)
    # The error of y times a difference of gradients, which are below 15, and the error of their mean.
    assert ((found - expected).abs() <= scale * 30 * (bound + 4e-6 * exact)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_rounded_once(op, dtype):
    x, upstream = values(2, 60, 70, dtype=dtype), values(2, 60, 70, dtype=dtype, seed=1)
    y = op(x, 1.5, True)
    assert torch.equal(y, op(x.float(), 1.5, True).to(dtype))
    assert torch.equal(backward_operator()(upstream, y, 1.5, True),
                       backward_operator()(upstream.float(), y.float(), 1.5, True).to(dtype))


def test_what_a_row_does_not_see_is_not_looked_at(op):
    x = values(3, 20, 33)
    hidden = ~torch.ones(20, 33, dtype=torch.bool).tril(13)
    assert torch.equal(op(x.masked_fill(hidden, torch.nan), 1.0, True), op(x, 1.0, True))
    assert (op(x, 1.0, True)[:, hidden] == 0).all()
    assert torch.equal(op(x[:, -1:], 1.0, True), op(x[:, -1:], 1.0, False))


def test_strides_and_threads_do_not_matter(op):
    x, upstream = values(6, 300, 200), values(6, 200, 300, seed=1)
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            y = op(x.transpose(1, 2), 1.0, True)
            results.append((y, backward_operator()(upstream.mT.contiguous().mT, y, 1.0, True)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], op(x.transpose(1, 2).contiguous(), 1.0, True))
    for result in results[1:]:
        assert torch.equal(result[0], results[0][0]) and torch.equal(result[1], results[0][1])


def test_gradcheck_in_float64():
    x = values(2, 3, 5).double().requires_grad_()
    for causal in (False, True):
        assert torch.autograd.gradcheck(lambda t, causal=causal: softmax(t, 0.7, causal), x)


def test_torch_finds_the_operators_in_order(op):
    for causal in (False, True):
        torch.library.opcheck(op, (values(2, 4, 40).requires_grad_(), 0.5, causal))
        torch.library.opcheck(backward_operator(), (values(2, 40, 4).mT, values(2, 4, 40), 0.5, causal))


def test_what_does_not_fit_is_refused(op):
    with pytest.raises(ValueError, match="scale"):
        softmax(values(3, 4), 0.0)
    with pytest.raises(ValueError, match="queries"):
        softmax(values(5, 4), causal=True)
    with pytest.raises(RuntimeError, match="scale"):
        op(values(3, 4), -1.0, False)
    with pytest.raises(RuntimeError, match="causal"):
        op(values(5, 4), 1.0, True)
    with pytest.raises(RuntimeError, match="gradient"):
        backward_operator()(values(4, 3), values(3, 4), 1.0, False)
