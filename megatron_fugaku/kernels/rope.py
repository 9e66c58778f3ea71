"""Rotary position embedding (Su et al., arXiv:2104.09864) of queries and keys, and its gradient, in one pass.

The gradient turns back by the same angles. In float32 the error is at most 1.2e-7 of the sum of a pair's magnitudes;
bfloat16 and float16 are computed in float32 and rounded once. The same bits on every machine: ``csrc/kernels/rope``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import define_operator, runs_kernel


def reference(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, interleaved: bool,
              inverse: bool = False) -> torch.Tensor:
    """What the operator computes, in plain torch: [S, B, H, D] and [S, R / 2] twice to [S, B, H, D], contiguous."""
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    rotated = 2 * cosines.shape[1]
    pairs = x[..., :rotated].to(wide)
    cosine, sine = (table.to(wide)[:, None, None] for table in (cosines, -sines if inverse else sines))
    a, b = (pairs[..., ::2], pairs[..., 1::2]) if interleaved else pairs.chunk(2, -1)
    turned = a * cosine - b * sine, b * cosine + a * sine
    result = torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)
    return torch.cat([result.to(x.dtype), x[..., rotated:]], -1).contiguous()


@functools.cache
def operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::rope(x, cosines, sines, interleaved, inverse)``, or None when it was not built."""

    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        _, *tables, ctx.interleaved, ctx.inverse = inputs
        ctx.save_for_backward(*tables)

    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        return operator()(gradient, *ctx.saved_tensors, ctx.interleaved, not ctx.inverse), None, None, None, None

    return define_operator("rope", lambda x, *rest: x.new_empty(x.shape), backward, setup_context)


def rope(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, interleaved: bool = False) -> torch.Tensor:
    """Return ``x`` with the pairs of each head turned by their angles, contiguous; differentiable by x.

    Args:
        x: [S, B, H, D], floating.
        cosines, sines: of the angles of S positions and R / 2 pairs, [S, R / 2], float32; R <= D, and the last D - R
            elements of a head stay.
        interleaved: pairs are neighbours; else elements R / 2 apart.

    Raises:
        ValueError: shapes do not fit.
    """
    if x.ndim != 4 or cosines.shape != sines.shape or cosines.ndim != 2 or cosines.shape[0] != x.shape[0] or (
            2 * cosines.shape[1] > x.shape[3]):
        raise ValueError(f"cosines and sines of shapes {tuple(cosines.shape)} and {tuple(sines.shape)} do not fit x of "
                         f"shape {tuple(x.shape)}")
    run = operator() if runs_kernel("rope", x) else None
    return (reference if run is None else run)(x, cosines, sines, interleaved, False)
