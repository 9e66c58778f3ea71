"""LayerNorm and RMSNorm as megatron-core modules that know sequence parallelism."""

from __future__ import annotations

import torch
from megatron.core.transformer.transformer_config import TransformerConfig


class _MarksSequenceParallel:
    """Marks the parameters, so that megatron-core sums their gradients over the tensor-parallel group when each of
    its ranks normalises another part of the sequence."""

    def mark(self, config: TransformerConfig) -> None:
        for parameter in self.parameters():  # type: ignore[attr-defined]
            parameter.sequence_parallel = config.sequence_parallel


class LayerNorm(torch.nn.LayerNorm, _MarksSequenceParallel):
    """Layer normalisation over the last dimension: [..., hidden_size] to the same shape and dtype."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **unused: object):
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        self.mark(config)


class RMSNorm(torch.nn.RMSNorm, _MarksSequenceParallel):
    """Root-mean-square normalisation over the last dimension: [..., hidden_size] to the same shape and dtype."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **unused: object):
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        self.mark(config)
