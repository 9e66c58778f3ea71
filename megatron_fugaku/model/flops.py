"""Arithmetic of a training step, for throughput figures."""

from __future__ import annotations

from megatron_fugaku.config import ModelConfig


def flops_per_token(model: ModelConfig, vocab_size: int) -> float:
    """Return the floating-point operations of forward and backward for one token, without recomputation.

    Matrix products only, two operations per multiply-add, backward twice forward, half of the attention scores
    (causal): the usual count of model FLOPs (Narayanan et al., arXiv:2104.04473, section 5.1).

    Args:
        model: the network.
        vocab_size: padded vocabulary.
    """
    model = model.resolved()
    heads_width = model.num_attention_heads * model.kv_channels
    kv_width = model.num_query_groups * model.kv_channels
    projections = 2 * model.hidden_size * (2 * heads_width + 2 * kv_width)
    scores = 2 * 2 * heads_width * model.seq_length / 2
    mlp = 2 * model.hidden_size * model.ffn_hidden_size * (3 if model.swiglu else 2)
    return 3.0 * (model.num_layers * (projections + scores + mlp) + 2 * model.hidden_size * vocab_size)
