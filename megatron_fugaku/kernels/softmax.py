"""Softmax over the last dimension with a scale and a causal mask, in one pass over memory.

What a row does not see is neither computed nor read. In float32 the relative error is below 5e-7 + 8e-8 d for an
element d below its row's largest, and from d = 86 on the result is 0; bfloat16 and float16 are computed in float32 and
rounded once. The same bits on every machine: ``csrc/kernels/softmax``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import define_operator, fake_like, runs_kernel


def reference(x: torch.Tensor, scale: float, causal: bool) -> torch.Tensor:
    """What the operator computes, in plain torch: [..., queries, keys] to the same in the dtype of ``x``."""
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    value = x.to(wide) * scale
    if causal:
        num_queries, num_keys = x.shape[-2:]
        sees = torch.ones(num_queries, num_keys, dtype=torch.bool, device=x.device).tril(num_keys - num_queries)
        value = value.masked_fill(~sees, -torch.inf)
    return value.softmax(-1).to(x.dtype)


@functools.cache
def operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::softmax(x, scale, causal)``, or None when it was not built."""

    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        ctx.call = inputs[1:]
        ctx.save_for_backward(output)

    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        return backward_operator()(gradient, *ctx.saved_tensors, *ctx.call), None, None

    return define_operator("softmax", lambda x, scale, causal: fake_like(x), backward, setup_context)


@functools.cache
def backward_operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::softmax_backward(gradient, y, scale, causal)``, or None when it was not built."""
    return define_operator("softmax_backward", lambda gradient, y, scale, causal: fake_like(y))


def softmax(x: torch.Tensor, scale: float = 1.0, causal: bool = False) -> torch.Tensor:
    """Return the softmax of ``scale * x`` over the last dimension, once differentiable.

    Args:
        x: [..., keys], with ``causal`` [..., queries, keys], floating.
        scale: positive.
        causal: the last query sees all keys, the one before it all but the last, and so on; what a query does not see
            is 0.

    Raises:
        ValueError: the scale is not positive, or there are more queries than keys.
    """
    if not scale > 0:
        raise ValueError(f"the scale of a softmax is {scale}, not positive")
    if causal and (x.ndim < 2 or x.shape[-2] > x.shape[-1]):
        raise ValueError(f"a causal softmax needs at most as many queries as keys, but x has shape {tuple(x.shape)}")
    run = operator() if runs_kernel("softmax", x) else None
    return (reference if run is None else run)(x, scale, causal)
