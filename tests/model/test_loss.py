"""The loss of a language model against torch's, and what its backward pass does to the logits."""

from __future__ import annotations

import pytest
import torch

from megatron_fugaku.kernels.cross_entropy import operator
from megatron_fugaku.model.loss import VocabParallelCrossEntropy


@pytest.fixture(autouse=True)
def _needs_operators():
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_gradients_are_torchs(dtype):
    logits = (3 * torch.randn(5, 2, 300)).to(dtype)
    targets, upstream = torch.randint(0, 300, (5, 2)), torch.randn(5, 2)
    leaf = logits.clone().requires_grad_()
    losses = VocabParallelCrossEntropy.apply(leaf * 1, targets, None)
    losses.backward(upstream)
    wide = logits.double().requires_grad_()
    exact = torch.nn.functional.cross_entropy(wide.view(-1, 300), targets.view(-1), reduction="none").view(5, 2)
    exact.backward(upstream.double())
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), exact, atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(leaf.grad.double(), wide.grad, **({"atol": 1e-6, "rtol": 2e-6}
                               if dtype == torch.float32 else {"atol": 1e-6, "rtol": 2**-8}))


def test_the_gradient_takes_the_memory_of_the_logits_and_is_had_once():
    leaf = torch.randn(4, 30, requires_grad=True)
    logits = leaf * 1
    losses = VocabParallelCrossEntropy.apply(logits, torch.arange(4), None).sum()
    gradient, = torch.autograd.grad(losses, logits, retain_graph=True)
    assert gradient.data_ptr() == logits.data_ptr()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(losses, logits)
