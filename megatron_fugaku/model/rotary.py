"""Rotary positions of the model by our operator, through the class of self-attention that the spec of a layer names.

megatron-core computes cosines and sines of all angles anew for queries and keys of every layer, and makes five more
tensors of their size from each.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.transformer.attention import SelfAttention

from megatron_fugaku.kernels.extension import load_operators, runs_kernel
from megatron_fugaku.kernels.rope import rope

Tables = tuple[torch.Tensor, torch.Tensor]

#: Cosines and sines by the memory of their angles, and the angles themselves, so that it stays theirs. megatron-core
#: keeps the angles of a length and gives them out again.
_tables: dict[tuple, tuple[torch.Tensor, Tables]] = {}
_MOST_TABLES = 8


def find_tables(angles: torch.Tensor, interleaved: bool) -> Tables:
    """Return the cosines and sines, [S, R / 2], of angles as megatron-core gives them, [S, 1, 1, R], each twice.

    Recomputation hands on another tensor of the same memory.
    """
    key = angles.data_ptr(), angles.shape, angles.stride(), interleaved
    if key not in _tables:
        if len(_tables) == _MOST_TABLES:
            _tables.clear()
        once = angles.detach()[:, 0, 0]
        once = once[:, ::2] if interleaved else once[:, :once.shape[1] // 2]
        _tables[key] = angles, (once.cos().contiguous(), once.sin().contiguous())
    return _tables[key][1]


class RotarySelfAttention(SelfAttention):
    """megatron-core's self-attention, whose queries and keys our operator turns as soon as they are there.

    What generates text with a cache of keys, packs sequences or leaves layers without positions is megatron-core's own.
    """

    _angles: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, *args: Any,
                rotary_pos_emb: torch.Tensor | tuple | None = None, **options: Any) -> tuple:
        """Return what megatron-core's does: (output, bias)."""
        is_plain = (isinstance(rotary_pos_emb, torch.Tensor) and rotary_pos_emb.shape[1:3] == (1, 1) and not args
                    and all(options.get(name) is None for name in ("key_value_states", "inference_context",
                                                                   "inference_params", "packed_seq_params"))
                    and not self.config.no_rope_freq and load_operators() is not None
                    and runs_kernel("rope", hidden_states))
        if not is_plain:
            return super().forward(hidden_states, attention_mask, *args, rotary_pos_emb=rotary_pos_emb, **options)
        self._angles = rotary_pos_emb
        try:
            return super().forward(hidden_states, attention_mask, **options)
        finally:
            self._angles = None

    def get_query_key_value_tensors(self, *args: Any, **options: Any) -> tuple:
        """Return query, key and value, the first two turned where :meth:`forward` left that to this."""
        result = super().get_query_key_value_tensors(*args, **options)
        if self._angles is None:
            return result
        query, key, *rest = result
        interleaved = self.config.rotary_interleaved
        tables = find_tables(self._angles, interleaved)
        return rope(query, *tables, interleaved), rope(key, *tables, interleaved), *rest
