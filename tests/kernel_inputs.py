"""What the tests of operators have in common: random tensors and gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch


def values(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, size: float = 1.0) -> torch.Tensor:
    """Return normally distributed numbers of a standard deviation, the same for a seed."""
    return (size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).to(dtype)


def wide_values(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Return :func:`values` that reach where an activation or a softmax is flat."""
    return values(*shape, dtype=dtype, seed=seed, size=3.0)


def gradient(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, upstream: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the one input."""
    return gradients(function, [x], upstream)[0]


def gradients(function: Callable[..., torch.Tensor], inputs: list[torch.Tensor],
              upstream: torch.Tensor) -> list[torch.Tensor]:
    """Return the gradients of the inputs that the function uses, from that of its result."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    function(*leaves).backward(upstream)
    return [leaf.grad for leaf in leaves if leaf.grad is not None]
