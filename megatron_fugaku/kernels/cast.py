"""Conversions between float32 and bfloat16 or float16, rounded to nearest even.

A CPU that flushes subnormal numbers changes nothing of that. A NaN stays a NaN, but not which. The same bits on every
machine: ``csrc/vec``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import DTYPES, define_operator, runs_kernel


@functools.cache
def operator() -> Callable[[torch.Tensor, torch.Tensor], None] | None:
    """Return ``mfugaku::convert(x, out)``, which writes x to memory of another dtype, or None when it was not built."""
    return define_operator("convert", lambda x, out: None)


def copy_as(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Copy ``x`` to ``out``, which has as many elements and any dtype, and return it; without a gradient.

    The kernel converts between float32 and halves where ``out`` is contiguous; anything else is torch's.

    Raises:
        ValueError: the numbers of elements differ.
    """
    if out.numel() != x.numel():
        raise ValueError(f"{x.numel()} elements do not fit {out.numel()}")
    is_conversion = {x.dtype, out.dtype} <= DTYPES and (x.dtype == torch.float32) != (out.dtype == torch.float32)
    run = operator() if is_conversion and out.is_contiguous() and all(
        runs_kernel("cast", tensor) for tensor in (x, out)) else None
    with torch.no_grad():
        if run is None:
            return out.copy_(x.reshape(out.shape))
        run(x, out)
    torch.autograd.graph.increment_version(out)
    return out


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        ctx.dtype = x.dtype
        return copy_as(torch.empty(x.shape, dtype=dtype, device=x.device), x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return cast(gradient, ctx.dtype), None


def cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return ``x`` in another dtype, contiguous, or ``x`` itself where it has that; the gradient is cast back."""
    return x if x.dtype == dtype else _Cast.apply(x, dtype)
