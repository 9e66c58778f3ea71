"""LayerNorm and RMSNorm as megatron-core modules that know sequence parallelism, by the operators of
:mod:`megatron_fugaku.kernels`; where those were not built, torch's own."""

from __future__ import annotations

import torch
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.kernels.norm import layer_norm, rms_norm


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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` normalised."""
        return super().forward(x) if load_operators() is None else layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(torch.nn.RMSNorm, _MarksSequenceParallel):
    """Root-mean-square normalisation over the last dimension: [..., hidden_size] to the same shape and dtype."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **unused: object):
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        self.mark(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` normalised."""
        return super().forward(x) if load_operators() is None else rms_norm(x, self.weight, self.eps)
