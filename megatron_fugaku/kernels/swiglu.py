"""SwiGLU (Shazeer, arXiv:2002.05202): the first half of a row, through SiLU, times the second half.

In float32 |error| <= 3e-7 of the product of both halves; bfloat16 and float16 are computed in float32 and rounded
once. The same bits on every machine: ``csrc/kernels/swiglu``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import define_operator, fake_like, runs_kernel


def reference(x: torch.Tensor) -> torch.Tensor:
    """What the operator computes, in plain torch: [..., 2 F] to [..., F] in the dtype of ``x``."""
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    gate, factor = x.to(wide).chunk(2, -1)
    return (torch.nn.functional.silu(gate) * factor).to(x.dtype)


@functools.cache
def operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::swiglu(x)``, or None when it was not built."""

    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return backward_operator()(gradient, *ctx.saved_tensors)

    def fake(x):
        return x.new_empty((*x.shape[:-1], x.shape[-1] // 2))

    return define_operator("swiglu", fake, backward, setup_context)


@functools.cache
def backward_operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::swiglu_backward(gradient, x)``, or None when it was not built."""
    return define_operator("swiglu_backward", lambda gradient, x: fake_like(x))


def swiglu(x: torch.Tensor) -> torch.Tensor:
    """Return ``silu(a) * b`` where a and b are the halves of the last dimension of x, once differentiable.

    Args:
        x: [..., 2 F], floating.

    Raises:
        ValueError: the last dimension is odd.
    """
    if x.ndim == 0 or x.shape[-1] % 2:
        raise ValueError(f"the last dimension of a gated unit has two halves, and x has the shape {tuple(x.shape)}")
    run = operator() if runs_kernel("swiglu", x) else None
    return (reference if run is None else run)(x)
