"""Matrix products with float32 sums, for float32, bfloat16 and float16.

torch's own for the 16-bit types run in scalar loops on many CPUs. Here they are converted while they are packed for the
kernel that serves float32. ``csrc/kernels/gemm/gemm.h`` says what is computed, to the bit.

Where ``matmul`` was chosen to be ``fp16_native``, products of float16 are added up in float16: 32 products in a row,
four of these sums pairwise, and only then in float32, as ``csrc/kernels/gemm_fp16/gemm_fp16.h`` says to the bit. On an
A64FX that takes 0.53 to 0.59 of float32's cycles, by a model of it. Against float64, errors of independent numbers of
mean zero have a root mean square of 0.09 % of that of the result (0.02 % where float32 sums are rounded to float16),
whatever the depth, and are at most 1.75 % of the sum of the products' magnitudes; sums of 128 products beyond 65504 are
infinite. The gradients, whose products may be too small for float16, keep float32 sums.

Where it is ``bf16_native``, products of bfloat16 run on Arm's BF16 instructions, with float32 sums of other bits, as
``csrc/kernels/gemm_bf16/gemm_bf16.h`` has it: rounded to odd, and at most depth * 2^-23 of the sum of the products'
magnitudes off. A64FX has none; Neoverse V1 and V2 have.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from megatron_fugaku.kernels.extension import define_operator, runs_kernel
from megatron_fugaku.kernels.implementations import BF16_NATIVE, FP16_NATIVE, choose_native

#: Below so many rows or columns packing costs more than it gains.
_LEAST_SIDE = 4


@functools.cache
def operator() -> Callable[..., None] | None:
    """Return ``mfugaku::gemm(a, b, out, alpha, accumulate)`` on [B, M, K], [B, K, N], [B, M, N], or None when it was
    not built. It has no gradient: see :func:`matmul`."""
    return define_operator("gemm", lambda a, b, out, alpha, accumulate: None)


@functools.cache
def float16_operator() -> Callable[..., None] | None:
    """Return ``mfugaku::gemm_fp16``, as :func:`operator` but for float16 alone and with sums in float16. It runs on
    every CPU, with the same bits, and slowly on those without float16 arithmetic."""
    return define_operator("gemm_fp16", lambda a, b, out, alpha, accumulate: None)


@functools.cache
def bfloat16_operator() -> Callable[..., None] | None:
    """Return ``mfugaku::gemm_bf16``, as :func:`operator` but for bfloat16 alone and by BF16 instructions. It runs on
    every CPU, and slowly on those without them."""
    return define_operator("gemm_bf16", lambda a, b, out, alpha, accumulate: None)


def reference(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, alpha: float, accumulate: bool) -> None:
    """What the operator computes, in plain torch and float32 sums."""
    product = alpha * (a.to(torch.float32) @ b.to(torch.float32))
    out.copy_(out + product if accumulate else product)


def _kernel_for(a: torch.Tensor, b: torch.Tensor, of_gradient: bool) -> Callable[..., None] | None:
    if not runs_kernel("matmul", a, b) or min(a.shape[-2], b.shape[-1]) < _LEAST_SIDE:
        return None
    native = choose_native(str(a.dtype).removeprefix("torch."))
    if native == BF16_NATIVE:
        return bfloat16_operator()
    return float16_operator() if native == FP16_NATIVE and not of_gradient else operator()


def multiply_into(out: torch.Tensor, a: torch.Tensor, b: torch.Tensor, accumulate: bool = False,
                  of_gradient: bool = False) -> torch.Tensor:
    """Set ``out`` to ``a @ b``, or add that to it, and return it. Nothing here is recorded for gradients.

    Args:
        out: [..., M, N], of the dtype of ``a`` or float32; contiguous along one of both. It overlaps neither.
        a, b: [..., M, K] and [..., K, N] of one dtype, with the same leading dimensions: none or one.
        accumulate: add.
        of_gradient: one of them is a gradient, which float16 is too narrow for.
    """
    run = _kernel_for(a, b, of_gradient)
    if run is not None:
        as_batch = (lambda x: x.detach()) if out.ndim == 3 else (lambda x: x.detach()[None])
        run(as_batch(a), as_batch(b), as_batch(out), 1.0, accumulate)
        return out
    product = torch.matmul(a.to(out.dtype), b.to(out.dtype))
    return out.add_(product) if accumulate else out.copy_(product)


def multiply(a: torch.Tensor, b: torch.Tensor, of_gradient: bool = False) -> torch.Tensor:
    """Return ``a @ b`` in their dtype: [..., M, K] and [..., K, N], see :func:`multiply_into`."""
    if _kernel_for(a, b, of_gradient) is None:
        return torch.matmul(a, b)
    return multiply_into(a.new_empty((*a.shape[:-1], b.shape[-1])), a, b, of_gradient=of_gradient)


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return multiply(a, b)

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved_tensors
        wants_a, wants_b = ctx.needs_input_grad
        return (multiply(gradient, b.transpose(-1, -2), of_gradient=True) if wants_a else None,
                multiply(a.transpose(-1, -2), gradient, of_gradient=True) if wants_b else None)


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ``a @ b`` with gradients for both, once differentiable.

    Args:
        a: [M, K] or [B, M, K], floating.
        b: [K, N] or [B, K, N] of the same dtype.

    Raises:
        ValueError: shapes do not fit.
    """
    if a.ndim != b.ndim or a.ndim not in (2, 3) or a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
        raise ValueError(f"matrices of shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied")
    return _Matmul.apply(a, b)
