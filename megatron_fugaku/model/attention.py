"""Attention of the model by the fused operator, through megatron-core's extension point.

megatron-core's own keeps two matrices of scores for every head, draws dropout's mask on one thread and multiplies one
head after the other.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.enums import AttnMaskType

from megatron_fugaku.kernels.attention import attention
from megatron_fugaku.kernels.dropout import draw_seed
from megatron_fugaku.kernels.extension import load_operators, runs_kernel
from megatron_fugaku.model.dropout import choose_dropout
from megatron_fugaku.model.softmax import choose_softmax, window_of


def _group_of(module: DotProductAttention) -> Any:
    """Return the ranks that share the heads of a module, which has them itself from megatron-core 0.15 on."""
    return getattr(module, "tp_group", None) or parallel_state.get_tensor_model_parallel_group()


class CoreAttention(DotProductAttention):
    """megatron-core's attention where masks are causal and nothing else is asked of the scores; else its own form.

    The mask of dropout follows from one draw of torch's default generator, which is in step on all tensor-parallel
    ranks, and from the number of each head: it does not depend on how many ranks share the heads.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.scale_mask_softmax = choose_softmax(self.scale_mask_softmax)
        self.attention_dropout = choose_dropout(self.attention_dropout)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                attention_mask: torch.Tensor | None, attn_mask_type: AttnMaskType | None = None,
                attention_bias: torch.Tensor | None = None, packed_seq_params: Any = None) -> torch.Tensor:
        """Return [S, B, H * D] for query [S, B, H, D] and key and value [S, B, G, D]."""
        if not self._is_plain(query, key, value, attention_mask, attention_bias, packed_seq_params):
            return super().forward(query, key, value, attention_mask, attn_mask_type, attention_bias, packed_seq_params)
        p = self.attention_dropout.p if self.training else 0.0
        out = attention(query, key, value, self.softmax_scale, p=p, seed=draw_seed() if p > 0 else 0,
                        first_head=_group_of(self).rank() * query.shape[2],
                        heads_of_model=self.config.num_attention_heads)
        return out.view(*out.shape[:2], -1)

    def _is_plain(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *given: Any) -> bool:
        softmax = self.scale_mask_softmax
        return (load_operators() is not None and runs_kernel("attention", query, key, value)
                and all(each is None for each in given) and self.attn_mask_type == AttnMaskType.causal
                and query.shape[0] == key.shape[0] and softmax.scale is None and window_of(softmax) is None
                and getattr(self, "softmax_offset", None) is None and self.attention_dropout.p < 1)
