"""Dropout: the mask, the arithmetic, the gradients and the use of torch's generators."""

from __future__ import annotations

import math

import pytest
import torch
from kernel_inputs import values

from megatron_fugaku.kernels.dropout import (
    bias_dropout_add,
    draw_seed,
    dropout,
    keep_mask,
    operator,
    reference,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SIZES = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 40000]


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_the_operator_is_the_reference_to_the_bit(op, size, dtype):
    x = values(size, dtype=dtype)
    assert torch.equal(op(x, None, None, 0.3, 11, 22), reference(x, None, None, 0.3, 11, 22))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (3, 7), (5, 64), (2, 3, 65), (4, 300), (129, 33), (3, 20000)])
def test_with_bias_and_residual_too(op, shape, dtype):
    x, bias, residual = (values(*s, dtype=dtype, seed=i) for i, s in enumerate((shape, shape[-1:], shape)))
    for b in (None, bias):
        for r in (None, residual):
            assert torch.equal(op(x, b, r, 0.1, -5, 2**62), reference(x, b, r, 0.1, -5, 2**62))


def test_strides_do_not_matter(op):
    x, residual = values(40, 30).t(), values(30, 80)[:, ::2]
    bias = values(80)[::2]
    assert not (x.is_contiguous() or residual.is_contiguous() or bias.is_contiguous())
    result = op(x, bias, residual, 0.2, 1, 2)
    assert result.is_contiguous()
    assert torch.equal(result, reference(x, bias, residual, 0.2, 1, 2))
    expanded = torch.ones(1).expand(500)
    assert torch.equal(op(expanded, None, None, 0.2, 1, 2), reference(expanded, None, None, 0.2, 1, 2))
    odd = values(1001)[1:]  # not aligned to a vector
    assert torch.equal(op(odd, None, None, 0.2, 1, 2), reference(odd.clone(), None, None, 0.2, 1, 2))


def test_the_number_of_threads_does_not_matter(op):
    x, before = values(300_000), torch.get_num_threads()
    results = []
    try:
        for num_threads in (1, 2, 3, 5):
            torch.set_num_threads(num_threads)
            results.append(op(x, None, None, 0.5, 3, 4))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_masks_are_as_random_as_they_should_be(p):
    """Six standard deviations: a right generator fails once in 10^8 runs, and these seeds are fixed."""
    n = 1 << 20
    sigma = math.sqrt(p * (1 - p) / n)
    first, second = keep_mask((n,), p, 1).double(), keep_mask((n,), p, 2).double()
    other_offset = keep_mask((n,), p, 1, 1).double()
    for mask in (first, second, other_offset):
        assert abs(mask.mean() - (1 - p)) < 6 * sigma
    independent = p * (1 - p) / math.sqrt(n)
    dropped = p - (1 - first)
    for other in (second, other_offset):
        assert abs((dropped * (p - (1 - other))).mean()) < 6 * independent
    for distance in (1, 2, 3, 16, 63, 64, 65, 128, 255, 256, 257, 4096):  # within and across blocks and groups
        assert abs((dropped[distance:] * dropped[:-distance]).mean()) < 6 * independent
    in_groups = first.reshape(-1, 256).mean(0)  # no position of a group is preferred
    assert (in_groups - (1 - p)).abs().max() < 6 * sigma * 16


def test_gradients_are_those_of_the_reference(op):
    for dtype in DTYPES:
        inputs = [values(50, 33, dtype=dtype), values(33, dtype=dtype, seed=1), values(50, 33, dtype=dtype, seed=2)]
        upstream = values(50, 33, dtype=dtype, seed=3)
        ours = [t.clone().requires_grad_() for t in inputs]
        theirs = [t.clone().requires_grad_() for t in inputs]
        op(*ours, 0.3, 7, 8).backward(upstream)
        reference(*theirs, 0.3, 7, 8).backward(upstream)
        assert torch.equal(ours[0].grad, theirs[0].grad)
        assert torch.equal(ours[2].grad, theirs[2].grad)
        # The rows of halves are summed in another order and precision.
        tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-1, torch.float16: 2e-2}[dtype]
        torch.testing.assert_close(ours[1].grad, theirs[1].grad, atol=tolerance, rtol=1e-2)


def test_only_wanted_gradients_are_made(op):
    x, bias, residual = values(4, 8), values(8), values(4, 8)
    for wanted in (x, bias, residual):
        wanted.requires_grad_()
        op(x, bias, residual, 0.3, 7, 8).sum().backward()
        assert [t.grad is not None for t in (x, bias, residual)] == [t is wanted for t in (x, bias, residual)]
        wanted.grad = None
        wanted.requires_grad_(False)


def test_gradcheck_in_float64():
    inputs = [values(3, 5).double(), values(5, seed=1).double(), values(3, 5, seed=2).double()]
    for t in inputs:
        t.requires_grad_()
    assert torch.autograd.gradcheck(lambda *t: reference(*t, 0.4, 3, 4), inputs)


def test_torch_finds_the_operator_in_order(op):
    x, bias, residual = (values(*s, seed=i).requires_grad_() for i, s in enumerate(((4, 40), (40,), (4, 40))))
    for arguments in ((x, bias, residual), (x, None, None), (values(40, 4).t(), None, None)):
        torch.library.opcheck(op, (*arguments, 0.1, 5, 6))


def test_one_draw_of_the_generator_is_one_call():
    x = values(100)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(dropout(x, 0.5), first)
    torch.set_rng_state(state)
    draw_seed()
    assert torch.equal(dropout(x, 0.5), second)
    own = torch.Generator().manual_seed(9)
    before = torch.get_rng_state()
    dropout(x, 0.5, generator=own)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(dropout(x, 0.5, generator=torch.Generator().manual_seed(9)),
                       dropout(x, 0.5, generator=torch.Generator().manual_seed(9)))


def test_recomputation_drops_the_same(op):
    """torch's checkpointing restores the generator: gradients are those without it."""
    from torch.utils.checkpoint import checkpoint

    weight = values(64, 64).requires_grad_()
    gradients = []

    def layer(t: torch.Tensor) -> torch.Tensor:
        return dropout(torch.nn.functional.linear(t, weight), 0.5)

    for recompute in (False, True):
        torch.manual_seed(3)
        x = values(10, 64)
        out = checkpoint(layer, x, use_reentrant=False) if recompute else layer(x)
        weight.grad = None
        (out ** 2).sum().backward()
        gradients.append(weight.grad.clone())
    assert torch.equal(*gradients)


def test_the_edges_of_the_probability():
    x, bias, residual = values(30, 20).requires_grad_(), values(20), values(30, 20)
    state = torch.get_rng_state()
    assert torch.equal(bias_dropout_add(x, bias, residual, 0.5, training=False), residual + (x + bias))
    assert torch.equal(bias_dropout_add(x, bias, residual, 0.0), residual + (x + bias))
    gone = bias_dropout_add(x, bias, residual, 1.0)
    assert torch.equal(gone, residual)
    gone.sum().backward()
    assert not x.grad.any()
    assert torch.equal(torch.get_rng_state(), state)
    almost = 1 - 2.0**-40
    assert torch.equal(keep_mask((1000,), almost, 1), torch.zeros(1000, dtype=torch.bool))
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            dropout(x, p)


def test_dropped_elements_are_zero_whatever_they_were(op):
    x = torch.full((1000,), float("nan"))
    result = op(x, None, None, 0.5, 1, 1)
    keep = keep_mask((1000,), 0.5, 1, 1)
    assert (result[~keep] == 0).all()
    assert result[keep].isnan().all()


def test_other_dtypes_and_residuals_take_the_way_of_torch():
    x = values(20, 10).double()
    torch.manual_seed(1)
    result = dropout(x, 0.3)
    torch.manual_seed(1)
    assert torch.equal(result, reference(x, None, None, 0.3, draw_seed()))
    half, residual = values(20, 10, dtype=torch.bfloat16), values(20, 10)
    assert bias_dropout_add(half, None, residual, 0.3).dtype == torch.bfloat16


def test_what_does_not_fit_is_refused(op):
    x = values(4, 8)
    cases = ((values(7), None, "bias"), (values(4, 8), None, "bias"), (None, values(8), "residual"))
    for bias, residual, match in cases:
        with pytest.raises(ValueError, match=match):
            bias_dropout_add(x, bias, residual, 0.5)
        with pytest.raises(RuntimeError, match=match):
            op(x, bias, residual, 0.5, 1, 1)
    with pytest.raises(RuntimeError, match="float32, bfloat16 or float16"):
        op(x.double(), None, None, 0.5, 1, 1)
    with pytest.raises(RuntimeError, match="below 1"):
        op(x, None, None, 1.0, 1, 1)
