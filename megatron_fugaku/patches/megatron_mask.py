"""megatron-core's causal mask, made once per length."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch


def build_causal_mask(original: Callable) -> Callable:
    """Return ``get_default_causal_mask`` on the CPU; the mask of a length is kept, not rebuilt in every layer."""

    @functools.lru_cache(maxsize=4)
    def get_default_causal_mask(sq: int) -> torch.Tensor:
        """Boolean mask [sq, sq], true above the diagonal."""
        return torch.triu(torch.ones(sq, sq, dtype=torch.bool), diagonal=1)

    return get_default_causal_mask
