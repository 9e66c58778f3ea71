"""Linear layers on our products: float16 outputs by float16 sums, and gradients that are added where they belong."""

from __future__ import annotations

import pytest
import torch

from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.kernels.implementations import set_implementations
from megatron_fugaku.model.linear import linear


@pytest.fixture(autouse=True)
def restored():
    if load_operators() is None:
        pytest.skip("the extension of the kernels was not built")
    yield
    set_implementations("auto")


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return (0.5 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).half()


def run(chosen: str) -> list[torch.Tensor]:
    """The output [S, B, out] of a float16 layer, and the gradients of input, weight and bias."""
    set_implementations({"matmul": chosen})
    inputs = [values(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(((10, 2, 300), (48, 300), (48,)))]
    out = linear(*inputs, False, False, False)
    return [out.detach(), *torch.autograd.grad(out, inputs, values(10, 2, 48, seed=3))]


def test_a_layer_of_float16_adds_up_in_float16_when_it_is_chosen():
    exact = values(10, 2, 300).double() @ values(48, 300, seed=1).double().t() + values(48, seed=2).double()
    (wide, *wide_gradients), (native, *gradients) = run("kernel"), run("fp16_native")
    errors = [(out.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt() for out in (wide, native)]
    assert errors[0] < 0.0004 < 0.0006 < errors[1] < 0.0011
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(gradients, wide_gradients, strict=True))


@pytest.mark.parametrize("zero_out", [False, True])
def test_gradients_of_weights_are_added_to_the_buffer_that_data_parallelism_keeps(zero_out):
    set_implementations({"matmul": "kernel"})
    weight = torch.nn.Parameter(values(48, 300).bfloat16())
    weight.main_grad, weight.grad_added_to_main_grad = torch.full((48, 300), 0.25), False
    if zero_out:  # the embedding's part comes by itself
        weight.zero_out_wgrad = True
    exact, magnitudes = torch.full((48, 300), 0.25, dtype=torch.float64), torch.full((48, 300), 0.25).double()
    for seed in range(2):
        x, of_out = (values(10, 2, width, seed=2 * seed + i).bfloat16() for i, width in enumerate((300, 48)))
        out = linear(x, weight, None, False, False, False)
        stand_in, = torch.autograd.grad(out, [weight], of_out)
        assert stand_in.shape == weight.shape and weight.grad_added_to_main_grad
        assert not zero_out or not stand_in.any()
        rows, of_rows = x.double().view(-1, 300), of_out.double().view(-1, 48)
        exact += of_rows.t() @ rows
        magnitudes += of_rows.abs().t() @ rows.abs()
    assert ((weight.main_grad.double() - exact).abs() <= 40 * 2**-24 * magnitudes).all()
