"""The loss of a language model by our operator: the logits are read once more than they are made, and never copied."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_fugaku.kernels import cross_entropy as kernels
from megatron_fugaku.kernels.extension import runs_kernel


class VocabParallelCrossEntropy(torch.autograd.Function):
    """Cross-entropy of logits [..., V / ranks] cut along the vocabulary, and targets [...]: float32 losses [...].

    The backward pass writes the gradient over the logits, and so it can be had once.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor,
                group: torch.distributed.ProcessGroup | None) -> torch.Tensor:
        """Return the losses. ``group`` holds the ranks that share the vocabulary; None: this rank has it all."""
        logits, num_ranks = logits.contiguous(), 1 if group is None else group.size()
        ctx.first_column = 0 if group is None else group.rank() * logits.shape[-1]
        largest, sums, at_target = kernels.operator()(logits, targets, ctx.first_column)
        if num_ranks > 1:
            own = largest.clone()
            torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX, group=group)
            parts = torch.stack((sums * (own - largest).exp(), at_target))
            torch.distributed.all_reduce(parts, group=group)
            sums, at_target = parts
        ctx.save_for_backward(logits, targets, largest, sums)
        return sums.log() + (largest - at_target)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        """Return the gradient of the logits in their memory."""
        logits, targets, largest, sums = ctx.saved_tensors
        of_logits = logits.detach()
        kernels.backward_operator()(of_logits, targets, ctx.first_column, gradient, largest, gradient / sums)
        torch.autograd.graph.increment_version(logits)  # a second backward pass is an error, not a wrong gradient
        return of_logits, None, None


class LanguageModel(GPTModel):
    """megatron-core's model with our loss."""

    def compute_language_model_loss(self, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Return the loss of each token, float32 [B, S], from labels [B, S] and logits [S, B, V / ranks]."""
        if kernels.operator() is None or not runs_kernel("cross_entropy", logits):
            return super().compute_language_model_loss(labels, logits)
        targets = labels.transpose(0, 1).contiguous()
        losses = VocabParallelCrossEntropy.apply(logits, targets, parallel_state.get_tensor_model_parallel_group())
        return losses.transpose(0, 1).contiguous()
