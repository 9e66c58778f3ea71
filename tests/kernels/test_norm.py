"""norm: its error against float64, gradients, shapes, threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import gradients, values

from megatron_fugaku.kernels.norm import backward_operator, layer_norm, operator, reference, rms_norm


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


def inputs_of(*shape: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [0.5 + values(*shape, dtype=dtype), 1 + values(shape[-1], dtype=dtype, seed=1) / 4,
            values(shape[-1], dtype=dtype, seed=2)]


def apply(centered: bool, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return layer_norm(x, weight, bias, 1e-5) if centered else rms_norm(x, weight, 1e-5)


@pytest.mark.parametrize("centered", [True, False])
@given(num_rows=st.integers(0, 40), columns=st.integers(4, 300))
def test_float32_is_within_its_bounds(centered, num_rows, columns):
    inputs, upstream = inputs_of(num_rows, columns), values(num_rows, columns, seed=3)
    wide = [t.double() for t in inputs]
    torch.testing.assert_close(apply(centered, *inputs).double(), apply(centered, *wide), atol=2e-6, rtol=1e-6)
    found = gradients(lambda *leaves: apply(centered, *leaves), inputs, upstream)
    expected = gradients(lambda *leaves: apply(centered, *leaves), wide, upstream.double())
    assert len(found) == (3 if centered else 2)
    for ours, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_rounded_once(op, dtype, centered):
    inputs, upstream = inputs_of(70, 45, dtype=dtype), values(70, 45, dtype=dtype, seed=3)
    wide = [t.float() for t in inputs]
    assert torch.equal(apply(centered, *inputs), apply(centered, *wide).to(dtype))
    found = gradients(lambda *leaves: apply(centered, *leaves), inputs, upstream)
    expected = gradients(lambda *leaves: apply(centered, *leaves), wide, upstream.float())
    for ours, exact in zip(found, expected, strict=True):
        assert torch.equal(ours, exact.to(dtype))


@pytest.mark.parametrize("centered", [True, False])
def test_strides_and_threads_do_not_matter(op, centered):
    inputs, upstream = inputs_of(700, 300), values(700, 300, seed=3)
    strided = [inputs[0].t().contiguous().t(), *(t.repeat_interleave(2)[::2] for t in inputs[1:])]
    before, results = torch.get_num_threads(), []
    try:
        for num_threads, given_inputs in ((1, inputs), (2, inputs), (3, strided)):
            torch.set_num_threads(num_threads)
            results.append([apply(centered, *given_inputs),
                            *gradients(lambda *leaves: apply(centered, *leaves), given_inputs, upstream)])
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        for ours, first in zip(result, results[0], strict=True):
            assert torch.equal(ours, first)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 40), (0, 8), (3, 1)])
def test_shapes_are_torchs(op, shape):
    inputs = inputs_of(*shape)
    for centered in (True, False):
        expected = reference(inputs[0], inputs[1], inputs[2] if centered else None, 1e-5, centered)
        torch.testing.assert_close(apply(centered, *inputs), expected, atol=2e-6, rtol=1e-6)
    expected = torch.nn.functional.layer_norm(inputs[0], shape[-1:], inputs[1])
    torch.testing.assert_close(layer_norm(*inputs[:2]), expected, atol=2e-6, rtol=1e-6)
    assert layer_norm(values(3, 0), values(0), None).shape == (3, 0)


def test_gradcheck_in_float64():
    inputs = [t.double().requires_grad_() for t in inputs_of(3, 5)]
    assert torch.autograd.gradcheck(layer_norm, inputs)
    assert torch.autograd.gradcheck(rms_norm, inputs[:2])


def test_torch_finds_the_operators_in_order(op):
    x, weight, bias = inputs_of(4, 40)
    for centered, shift in ((True, bias), (True, None), (False, None)):
        leaves = [None if t is None else t.clone().requires_grad_() for t in (x, weight, shift)]
        torch.library.opcheck(op, (*leaves, 1e-5, centered))
        statistics = op(x, weight, shift, 1e-5, centered)[1]
        torch.library.opcheck(backward_operator(), (x, x, weight, statistics, centered, shift is not None))


def test_what_does_not_fit_is_refused(op):
    x, weight, bias = inputs_of(4, 8)
    with pytest.raises(ValueError, match="weight"):
        layer_norm(x, values(7), bias)
    with pytest.raises(ValueError, match="bias"):
        layer_norm(x, weight, values(7))
    with pytest.raises(RuntimeError, match="weight"):
        op(x, values(7), None, 1e-5, True)
    with pytest.raises(RuntimeError, match="dtype"):
        op(x, weight.bfloat16(), None, 1e-5, True)
    with pytest.raises(RuntimeError, match="statistics"):
        backward_operator()(x, x, weight, values(3), True, True)
    with pytest.raises(RuntimeError, match="gradient"):
        backward_operator()(x.t(), x, weight, values(2, 4), True, True)
