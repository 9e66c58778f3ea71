"""residual_norm: its error against float64, the bits of norm, gradients of both results, shapes, threads."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import values

from megatron_fugaku.kernels.norm import layer_norm, rms_norm
from megatron_fugaku.kernels.residual_norm import (
    backward_operator,
    operator,
    reference,
    residual_layer_norm,
    residual_rms_norm,
)

HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


def inputs_of(*shape: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [0.5 + values(*shape, dtype=dtype), values(*shape, dtype=dtype, seed=4),
            1 + values(shape[-1], dtype=dtype, seed=1) / 4, values(shape[-1], dtype=dtype, seed=2)]


def upstream_of(*shape: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Gradients of the norm and of the sum."""
    return [values(*shape, dtype=dtype, seed=3), values(*shape, dtype=dtype, seed=5)]


def apply(centered: bool, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor,
          bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if centered:
        return residual_layer_norm(x, residual, weight, bias, 1e-5)
    return residual_rms_norm(x, residual, weight, 1e-5)


def gradients_of(centered: bool, inputs: Sequence[torch.Tensor],
                 upstream: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Those of x, residual, weight and, when centered, bias, from those of both results."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs[:4 if centered else 3]]
    results = apply(centered, *leaves, *inputs[len(leaves):])
    torch.autograd.backward(results, list(upstream))
    return [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("centered", [True, False])
@given(num_rows=st.integers(0, 40), columns=st.integers(4, 300))
def test_float32_is_within_its_bounds(centered, num_rows, columns):
    inputs, upstream = inputs_of(num_rows, columns), upstream_of(num_rows, columns)
    wide = [t.double() for t in inputs]
    found, exact = apply(centered, *inputs), apply(centered, *wide)
    torch.testing.assert_close(found[0].double(), exact[0], atol=2e-6, rtol=1e-6)
    assert torch.equal(found[1], inputs[0] + inputs[1])
    for ours, expected in zip(gradients_of(centered, inputs, upstream),
                              gradients_of(centered, wide, [t.double() for t in upstream]), strict=True):
        torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("columns", [1, 15, 16, 17, 130, 1025])
def test_the_norm_has_the_bits_of_norm_of_the_sum(op, columns, dtype, centered):
    inputs = inputs_of(70, columns, dtype=dtype)
    y, total = apply(centered, *inputs)
    assert torch.equal(total, inputs[0] + inputs[1])
    assert torch.equal(y, layer_norm(total, *inputs[2:], 1e-5) if centered else rms_norm(total, inputs[2], 1e-5))


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_of_halves_are_rounded_once(op, dtype, centered):
    inputs, upstream = inputs_of(70, 45, dtype=dtype), upstream_of(70, 45, dtype=dtype)
    total = inputs[0] + inputs[1]
    # The norm is that of the rounded sum.
    wide = [total.float(), torch.zeros(70, 45), *(t.float() for t in inputs[2:])]
    expected = gradients_of(centered, wide, [t.float() for t in upstream])
    for ours, exact in zip(gradients_of(centered, inputs, upstream), expected, strict=True):
        assert torch.equal(ours, exact.to(dtype))


@pytest.mark.parametrize("centered", [True, False])
def test_a_result_that_is_not_used_has_no_gradient(op, centered):
    inputs, (of_norm, of_sum) = inputs_of(30, 45), upstream_of(30, 45)
    nothing = torch.zeros_like(of_norm)
    for used, upstream in ((0, [of_norm, nothing]), (1, [nothing, of_sum])):
        leaves = [t.clone().requires_grad_() for t in inputs]
        apply(centered, *leaves)[used].backward(upstream[used])
        for leaf, expected in zip(leaves, gradients_of(centered, inputs, upstream), strict=False):
            assert torch.equal(leaf.grad, expected)
        assert torch.equal(leaves[0].grad, leaves[1].grad)


@pytest.mark.parametrize("centered", [True, False])
def test_strides_and_threads_do_not_matter(op, centered):
    inputs, upstream = inputs_of(700, 300), upstream_of(700, 300)
    strided = [*(t.t().contiguous().t() for t in inputs[:2]), *(t.repeat_interleave(2)[::2] for t in inputs[2:])]
    strided_upstream = [upstream[0].t().contiguous().t(), upstream[1].repeat_interleave(2, dim=1)[:, ::2]]
    before, results = torch.get_num_threads(), []
    try:
        for num_threads, given_inputs, given in ((1, inputs, upstream), (2, inputs, upstream),
                                                 (3, strided, strided_upstream)):
            torch.set_num_threads(num_threads)
            results.append([*apply(centered, *given_inputs), *gradients_of(centered, given_inputs, given)])
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        for ours, first in zip(result, results[0], strict=True):
            assert torch.equal(ours, first)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 40), (0, 8), (3, 1)])
def test_shapes_are_torchs(op, shape):
    inputs = inputs_of(*shape)
    for centered in (True, False):
        expected = reference(*inputs[:3], inputs[3] if centered else None, 1e-5, centered)
        for ours, theirs in zip(apply(centered, *inputs), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-6)
    y, total = residual_layer_norm(values(3, 0), values(3, 0), values(0))
    assert y.shape == total.shape == (3, 0)


def test_gradcheck_in_float64():
    inputs = [t.double().requires_grad_() for t in inputs_of(3, 5)]
    assert torch.autograd.gradcheck(residual_layer_norm, inputs)
    assert torch.autograd.gradcheck(residual_rms_norm, inputs[:3])


def test_torch_finds_the_operators_in_order(op):
    x, residual, weight, bias = inputs_of(4, 40)
    for centered, shift in ((True, bias), (True, None), (False, None)):
        leaves = [None if t is None else t.clone().requires_grad_() for t in (x, residual, weight, shift)]
        torch.library.opcheck(op, (*leaves, 1e-5, centered))
        _, total, statistics = op(x, residual, weight, shift, 1e-5, centered)
        has_bias = shift is not None
        torch.library.opcheck(backward_operator(), (x, residual, total, weight, statistics, centered, has_bias))


def test_what_does_not_fit_is_refused(op):
    x, residual, weight, bias = inputs_of(4, 8)
    with pytest.raises(ValueError, match="residual"):
        residual_layer_norm(x, residual[:3], weight, bias)
    with pytest.raises(ValueError, match="weight"):
        residual_rms_norm(x, residual, values(7))
    with pytest.raises(ValueError, match="bias"):
        residual_layer_norm(x, residual, weight, values(7))
    with pytest.raises(RuntimeError, match="residual"):
        op(x, residual[:3], weight, None, 1e-5, True)
    with pytest.raises(RuntimeError, match="dtype"):
        op(x, residual.bfloat16(), weight, None, 1e-5, True)
    with pytest.raises(RuntimeError, match="gradient of the sum"):
        backward_operator()(x, values(2, 8), x, weight, values(2, 4), True, True)
    assert residual_layer_norm(x, residual.double(), weight.double())[0].dtype == torch.float64
