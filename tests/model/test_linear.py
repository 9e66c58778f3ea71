"""Linear layers on products in float16: outputs by them, gradients by float32 sums."""

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
