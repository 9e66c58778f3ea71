"""Layer and root-mean-square normalisation over the last dimension, and their gradients.

The gradients of weight and bias are added up in an order that depends on the number of rows only, so that they are the
same bits for any number of threads and on every machine: ``csrc/kernels/norm``. bfloat16 and float16 are computed in
float32 and rounded once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import define_operator, fake_like, runs_kernel


def reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float,
              centered: bool) -> torch.Tensor:
    """What the operator computes, in plain torch: [..., H], [H] and [H] to [..., H] in the dtype of ``x``."""
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    value, scale, shift = x.to(wide), weight.to(wide), None if bias is None else bias.to(wide)
    if centered:
        return torch.nn.functional.layer_norm(value, weight.shape, scale, shift, eps).to(x.dtype)
    value = torch.nn.functional.rms_norm(value, weight.shape, scale, eps)
    return (value if shift is None else value + shift).to(x.dtype)


@functools.cache
def operator() -> Callable[..., tuple[torch.Tensor, torch.Tensor]] | None:
    """Return ``mfugaku::norm(x, weight, bias, eps, centered)``, or None when it was not built.

    It returns the result and, float32, the statistics of the rows that the gradient needs.
    """

    def fake(x, weight, bias, eps, centered):
        num_rows = x.numel() // x.shape[-1] if x.shape[-1] else 0
        return fake_like(x), x.new_empty((2 if centered else 1, num_rows), dtype=torch.float32)

    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        x, weight, bias, _, ctx.centered = inputs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(x, weight, output[1])

    def backward(ctx: Any, gradient: torch.Tensor, of_statistics: torch.Tensor) -> tuple:
        x, weight, statistics = ctx.saved_tensors
        of_x, of_weight, of_bias = backward_operator()(gradient, x, weight, statistics, ctx.centered, ctx.has_bias)
        return of_x, of_weight, of_bias if ctx.has_bias else None, None, None

    return define_operator("norm", fake, backward, setup_context)


@functools.cache
def backward_operator() -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None:
    """Return ``mfugaku::norm_backward(gradient, x, weight, statistics, centered, wants_bias)``, or None.

    It returns the gradients of x, weight and bias; the last has no elements unless ``wants_bias``.
    """

    def fake(gradient, x, weight, statistics, centered, wants_bias):
        return fake_like(x), fake_like(weight), weight.new_empty(weight.shape[0] if wants_bias else 0)

    return define_operator("norm_backward", fake)


def check_shapes(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Refuse a weight or a bias that is no vector over the last dimension of ``x``.

    Raises:
        ValueError: naming both shapes.
    """
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and (x.ndim == 0 or vector.shape != x.shape[-1:]):
            raise ValueError(f"a {name} of shape {tuple(vector.shape)} does not fit x of shape {tuple(x.shape)}")


def _norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float,
          centered: bool) -> torch.Tensor:
    check_shapes(x, weight, bias)
    run = operator() if runs_kernel("norm", x, weight, bias) else None
    return reference(x, weight, bias, eps, centered) if run is None else run(x, weight, bias, eps, centered)[0]


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None,
               eps: float = 1e-5) -> torch.Tensor:
    """Return ``weight * (x - mean) / sqrt(variance + eps) + bias`` of each row, once differentiable.

    Args:
        x: [..., H], floating.
        weight, bias: [H]; the bias may be None.
        eps: added to the variance, which is that of the row itself (divided by H).

    Raises:
        ValueError: shapes do not fit.
    """
    return _norm(x, weight, bias, eps, True)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Return ``weight * x / sqrt(mean(x^2) + eps)`` of each row: see :func:`layer_norm`."""
    return _norm(x, weight, None, eps, False)
