"""Layer and root-mean-square normalisation of x + residual, which is returned too, and their gradients.

A row is added up and normalised while it is in the cache, and in the backward pass the gradient that reaches the sum
from elsewhere joins that of the norm before it is rounded: of x and the residual nothing is read again. The kernels are
those of :mod:`megatron_fugaku.kernels.norm`, ``csrc/kernels/norm``; ``kernels.norm`` of a configuration chooses for
these operators too.

No model here runs them. megatron-core's transformer layer adds the residual in its bias-dropout-add, an operator of its
own (:mod:`megatron_fugaku.kernels.dropout`), and gives a norm nothing but the sum; its specifications have no place for
a module that does both, up to 0.16.1 at least. They are for models whose layers pass the residual on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels import norm
from megatron_fugaku.kernels.extension import define_operator, fake_like, runs_kernel


def reference(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float,
              centered: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What the operator computes, in plain torch: [..., H], [..., H], [H] and [H] to the norm and the sum, [..., H]
    each, in the dtype of ``x``."""
    total = x + residual
    return norm.reference(total, weight, bias, eps, centered), total


@functools.cache
def operator() -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None:
    """Return ``mfugaku::norm_residual(x, residual, weight, bias, eps, centered)``, or None when it was not built.

    It returns the norm, the sum and, float32, the statistics of the rows that the gradient needs.
    """

    def fake(x, residual, weight, bias, eps, centered):
        num_rows = x.numel() // x.shape[-1] if x.shape[-1] else 0
        return fake_like(x), fake_like(x), x.new_empty((2 if centered else 1, num_rows), dtype=torch.float32)

    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, _, weight, bias, _, ctx.centered = inputs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(output[1], weight, output[2])

    def backward(ctx: Any, gradient: torch.Tensor, of_sum: torch.Tensor, of_statistics: torch.Tensor) -> tuple:
        total, weight, statistics = ctx.saved_tensors
        of_x, of_weight, of_bias = backward_operator()(gradient, of_sum, total, weight, statistics, ctx.centered,
                                                       ctx.has_bias)
        return of_x, of_x, of_weight, of_bias if ctx.has_bias else None, None, None

    return define_operator("norm_residual", fake, backward, setup_context)


@functools.cache
def backward_operator() -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None:
    """Return ``mfugaku::norm_residual_backward(gradient, of_sum, sum, weight, statistics, centered, wants_bias)``.

    From the gradients of the norm and of the sum it returns that of x, which is that of the residual, of weight and of
    bias; the last has no elements unless ``wants_bias``. None when it was not built.
    """

    def fake(gradient, of_sum, sum, weight, statistics, centered, wants_bias):
        return fake_like(sum), fake_like(weight), weight.new_empty(weight.shape[0] if wants_bias else 0)

    return define_operator("norm_residual_backward", fake)


def _residual_norm(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float,
                   centered: bool) -> tuple[torch.Tensor, torch.Tensor]:
    norm.check_shapes(x, weight, bias)
    if residual.shape != x.shape:
        raise ValueError(f"a residual of shape {tuple(residual.shape)} does not fit x of shape {tuple(x.shape)}")
    run = operator() if runs_kernel("norm", x, residual, weight, bias) else None
    if run is None:
        return reference(x, residual, weight, bias, eps, centered)
    return run(x, residual, weight, bias, eps, centered)[:2]


def residual_layer_norm(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None,
                        eps: float = 1e-5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the layer norm of ``x + residual`` and that sum, both in the dtype of ``x``, once differentiable.

    The norm is that of the sum as it is returned, rounded to its dtype, bit by bit what
    :func:`megatron_fugaku.kernels.norm.layer_norm` makes of it.

    Args:
        x, residual: [..., H], floating.
        weight, bias: [H]; the bias may be None.
        eps: added to the variance, which is that of the row itself (divided by H).

    Raises:
        ValueError: shapes do not fit.
    """
    return _residual_norm(x, residual, weight, bias, eps, True)


def residual_rms_norm(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor,
                      eps: float = 1e-5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the root-mean-square norm of ``x + residual`` and that sum: see :func:`residual_layer_norm`."""
    return _residual_norm(x, residual, weight, None, eps, False)
