"""Dropout of the model through the operators of :mod:`megatron_fugaku.kernels`, by megatron-core's extension points.

torch draws every mask on one thread; at the sizes of a 13B model that takes longer than the matrix products of the
layer. Where the operators were not built, torch's own dropout stays.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from megatron.core.fusions import fused_bias_dropout
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_fugaku.kernels.dropout import bias_dropout_add, dropout
from megatron_fugaku.kernels.extension import load_operators

BiasDropoutAdd = Callable[[tuple[torch.Tensor, torch.Tensor | None], torch.Tensor, float], torch.Tensor]


class Dropout(torch.nn.Dropout):
    """Sets elements to zero with probability ``p`` in training: any shape to the same shape and dtype."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` with elements dropped, or ``x`` itself in evaluation."""
        return dropout(x, self.p, self.training)


def choose_dropout(module: torch.nn.Dropout) -> torch.nn.Dropout:
    """Return the module that does on this machine what ``module`` does."""
    return module if load_operators() is None else Dropout(module.p)


def get_bias_dropout_add(training: bool, fused: bool) -> BiasDropoutAdd:
    """Return ``residual + dropout(x + bias)`` as a layer calls it: (x, bias), residual, probability.

    Takes the place of megatron-core's function of this name in the spec of a layer.
    """
    if load_operators() is None:
        return fused_bias_dropout.get_bias_dropout_add(training, fused)

    def add(x_with_bias: tuple[torch.Tensor, torch.Tensor | None], residual: torch.Tensor, prob: float) -> torch.Tensor:
        x, bias = x_with_bias
        return bias_dropout_add(x, bias, residual, prob, training)

    return add


def replace_embedding_dropout(model: GPTModel) -> None:
    """Give the embedding of a first stage our dropout; megatron-core has no spec for it."""
    if model.pre_process:
        model.embedding.embedding_dropout = choose_dropout(model.embedding.embedding_dropout)
