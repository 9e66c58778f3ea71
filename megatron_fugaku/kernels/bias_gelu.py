"""GELU after a bias, exactly or in its tanh form, in one pass over memory.

In float32 the error is at most 2e-7 * max(1, |result|), that of the gradient 4e-7 of the incoming one; bfloat16 and
float16 are computed in float32 and rounded once. The same bits on every machine: ``csrc/kernels/bias_gelu``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import define_operator, fake_like, runs_kernel, sum_over_rows


def reference(x: torch.Tensor, bias: torch.Tensor | None, exact: bool = False) -> torch.Tensor:
    """What the operator computes, in plain torch: [..., H] and [H] to [..., H] in the dtype of ``x``."""
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    value = x.to(wide) if bias is None else x.to(wide) + bias.to(wide)
    return torch.nn.functional.gelu(value, approximate="none" if exact else "tanh").to(x.dtype)


@functools.cache
def operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::bias_gelu(x, bias, exact)``, or None when it was not built."""

    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        x, bias, ctx.exact = inputs
        ctx.save_for_backward(x, bias)

    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        of_x = backward_operator()(gradient, *ctx.saved_tensors, ctx.exact)
        wants_x, wants_bias, _ = ctx.needs_input_grad
        return of_x if wants_x else None, sum_over_rows(of_x) if wants_bias else None, None

    return define_operator("bias_gelu", lambda x, bias, exact: fake_like(x), backward, setup_context)


@functools.cache
def backward_operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::bias_gelu_backward(gradient, x, bias, exact)``, or None when it was not built."""
    return define_operator("bias_gelu_backward", lambda gradient, x, bias, exact: fake_like(x))


def bias_gelu(x: torch.Tensor, bias: torch.Tensor | None = None, exact: bool = False) -> torch.Tensor:
    """Return ``gelu(x + bias)``, with gradients for both, once differentiable.

    Args:
        x: [..., H], floating.
        bias: [H], or None.
        exact: with the normal distribution, as ``torch.nn.functional.gelu`` is by default; else its tanh form.

    Raises:
        ValueError: shapes do not fit.
    """
    if bias is not None and (x.ndim == 0 or bias.shape != x.shape[-1:]):
        raise ValueError(f"a bias of shape {tuple(bias.shape)} does not fit x of shape {tuple(x.shape)}")
    run = operator() if runs_kernel("bias_gelu", x, bias) else None
    return (reference if run is None else run)(x, bias, exact)
