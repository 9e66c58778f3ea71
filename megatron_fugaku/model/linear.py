"""Linear layers on the kernels' matrix products, through the method that megatron-core's parallel layers call.

megatron-core multiplies with torch.matmul; torch's products of 16-bit matrices are slow on CPUs, and on some machines
so are those of float32. Where the kernels were not built or torch is faster, this ends up in torch.matmul too.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel.layers import (
    ColumnParallelLinear,
    RowParallelLinear,
    linear_with_frozen_weight,
    linear_with_grad_accumulation_and_async_allreduce,
)

from megatron_fugaku.kernels.extension import load_operators, runs_kernel
from megatron_fugaku.kernels.matmul import multiply, multiply_into


class _Linear(torch.autograd.Function):
    """``input weight^T + bias``, tensor-parallel as megatron-core's: with sequence parallelism the input is gathered
    before both products that want it, else the gradient of the input is summed over the ranks while that of the weight
    is computed. Where megatron-core's data parallelism keeps a buffer for the latter, its product is added there."""

    @staticmethod
    def forward(ctx, x, weight, bias, allreduce_dgrad, sequence_parallel, group):
        ctx.save_for_backward(x, weight)
        ctx.has_bias, ctx.allreduce_dgrad, ctx.group = bias is not None, allreduce_dgrad, group
        ctx.sequence_parallel = sequence_parallel
        total = _gather(x, group)[0] if sequence_parallel else x
        out = multiply(_rows(total), weight.t()).view(*total.shape[:-1], weight.shape[0])
        return out if bias is None else out.add_(bias)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        total, gathered = _gather(x, ctx.group, async_op=True) if ctx.sequence_parallel else (x, None)
        rows = _rows(gradient)
        of_total = multiply(rows, weight, of_gradient=True).view(*gradient.shape[:-1], weight.shape[1])
        of_x, summed = of_total, None
        if ctx.sequence_parallel:
            gathered.wait()
            of_x = torch.empty_like(x, memory_format=torch.contiguous_format)
            summed = torch.distributed.reduce_scatter_tensor(of_x, of_total, group=ctx.group, async_op=True)
        elif ctx.allreduce_dgrad:
            summed = torch.distributed.all_reduce(of_total, group=ctx.group, async_op=True)
        of_weight = _gradient_of(weight, rows.t(), _rows(total)) if ctx.needs_input_grad[1] else None
        of_bias = rows.sum(0) if ctx.has_bias else None
        if summed is not None:
            summed.wait()
        return of_x, of_weight, of_bias, None, None, None


def _gradient_of(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ``a @ b``, or add it to ``weight.main_grad`` and return what stands in for it.

    The agreement is that of megatron-core's ``gradient_accumulation_fusion`` (``tensor_parallel/layers.py``): the flag
    says that nothing is left to be added, the hook still wants a gradient, and it adds that of a weight with
    ``zero_out_wgrad``, to which the embedding contributes.
    """
    if not hasattr(weight, "grad_added_to_main_grad"):
        return multiply(a, b, of_gradient=True)
    multiply_into(weight.main_grad, a, b, accumulate=True, of_gradient=True)
    weight.grad_added_to_main_grad = True
    return torch.zeros_like(weight) if getattr(weight, "zero_out_wgrad", False) else torch.empty_like(weight)


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, x.shape[-1])


def _gather(x: torch.Tensor, group: Any, async_op: bool = False) -> tuple[torch.Tensor, Any]:
    """Return the sequence of all ranks, [S, B, H] from [S / ranks, B, H], and what to wait for."""
    total = x.new_empty((x.shape[0] * group.size(), *x.shape[1:]))
    return total, torch.distributed.all_gather_into_tensor(total, x.contiguous(), group=group, async_op=async_op)


def linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, gradient_accumulation_fusion: bool,
           allreduce_dgrad: bool, sequence_parallel: bool, *, grad_output_buffer: Any = None, tp_group: Any = None,
           **of_a_version: Any) -> torch.Tensor:
    """Do what ``linear_with_grad_accumulation_and_async_allreduce`` does, with the arguments that it has, of which some
    come and go with megatron-core's versions.

    What this project never switches on, megatron-core's own fused accumulation of gradients, the deferred one and
    weights that are gathered for each product, is left to it, and so are frozen weights.
    """
    if not weight.requires_grad:
        return linear_with_frozen_weight(input, weight, bias, gradient_accumulation_fusion, allreduce_dgrad,
                                         sequence_parallel, tp_group=tp_group)
    is_plain = (not gradient_accumulation_fusion and grad_output_buffer is None
                and of_a_version.get("gtp_remat_size", 1) == 1)
    knows_group = tp_group is not None or not (allreduce_dgrad or sequence_parallel)
    if is_plain and knows_group and load_operators() is not None and runs_kernel("matmul", input, weight):
        return _Linear.apply(input, weight, bias, allreduce_dgrad, sequence_parallel, tp_group)
    return linear_with_grad_accumulation_and_async_allreduce(
        input, weight, bias, gradient_accumulation_fusion, allreduce_dgrad, sequence_parallel,
        grad_output_buffer=grad_output_buffer, tp_group=tp_group, **of_a_version)


class ColumnLinear(ColumnParallelLinear):
    """ColumnParallelLinear on the kernels: [S, B, in] to [S, B, out / tensor-parallel size]."""

    _forward_impl = staticmethod(linear)


class RowLinear(RowParallelLinear):
    """RowParallelLinear on the kernels: [S, B, in / tensor-parallel size] to [S, B, out]."""

    _forward_impl = staticmethod(linear)


def replace_output_layer(model: GPTModel) -> None:
    """Give the logits of a last stage our products; megatron-core has no spec for that layer."""
    if model.post_process:
        model.output_layer._forward_impl = linear
