"""Attention without the matrix of scores, with causal mask and dropout inside.

``csrc/kernels/attention/attention.h`` says what is computed, to the bit: results do not depend on the machine's vectors
or on the number of threads, and the mask of dropout is a function of seed, head, query and key alone. Memory is in
proportion to the length of the sequence; bfloat16 and float16 are computed in float32 and rounded once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import define_operator, runs_kernel
from megatron_fugaku.kernels.philox import LOW, philox

_WORDS = 4


def keep_mask(heads: torch.Tensor, num_queries: int, num_keys: int, p: float, seed: int,
              offset: int = 0) -> torch.Tensor:
    """Return which probabilities dropout keeps: bool [len(heads), num_queries, num_keys].

    Args:
        heads: numbers of the heads among those of the whole model, sequence by sequence: int64 [heads].
        p: probability of dropping, rounded to a multiple of 2^-32.
        seed: 64 bits, of either sign.
        offset: below 2^32.
    """
    query, group = torch.arange(num_queries), torch.arange(-(-num_keys // _WORDS))
    shape = (len(heads), num_queries, len(group))
    counter = [query[None, :, None].expand(shape), group.expand(shape), heads[:, None, None].expand(shape),
               torch.full(shape, offset & LOW)]
    words = torch.stack(philox(counter, seed), -1).reshape(len(heads), num_queries, -1)[..., :num_keys]
    return words >= min(round(p * 2**32), LOW)


def reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, is_causal: bool, p: float,
              seed: int, offset: int, first_head: int, heads_of_model: int) -> torch.Tensor:
    """What the operator computes, in plain torch: [Sq, B, H, D], [Sk, B, G, D] twice, to [Sq, B, H, D]."""
    wide = torch.float32 if query.dtype in (torch.bfloat16, torch.float16) else query.dtype
    num_queries, batch, num_heads, _ = query.shape
    num_keys, group = key.shape[0], num_heads // key.shape[2]
    q, k, v = (x.to(wide).permute(1, 2, 0, 3) for x in (query, key, value))
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = (q @ k.transpose(2, 3)) * scale
    if is_causal:
        hidden = torch.ones(num_queries, num_keys, dtype=torch.bool).triu(num_keys - num_queries + 1)
        scores = scores.masked_fill(hidden.to(scores.device), float("-inf"))
    probabilities = scores.softmax(-1)
    if p > 0:
        heads = (torch.arange(batch)[:, None] * heads_of_model + first_head + torch.arange(num_heads)).flatten()
        keep = keep_mask(heads, num_queries, num_keys, p, seed, offset).view_as(probabilities)
        probabilities = torch.where(keep.to(scores.device), probabilities / (1 - p), 0.0)
    return (probabilities @ v).permute(2, 0, 1, 3).to(query.dtype).contiguous()


@functools.cache
def operator() -> Callable[..., tuple[torch.Tensor, torch.Tensor]] | None:
    """Return ``mfugaku::attention``, or None when it was not built."""

    def fake(query, key, value, *options):
        statistics = query.new_empty((2, query.shape[1] * query.shape[2], query.shape[0]), dtype=torch.float32)
        return query.new_empty(query.shape), statistics

    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.save_for_backward(*inputs[:3], *output)
        ctx.options = inputs[3:]
        ctx.mark_non_differentiable(output[1])

    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor | None) -> tuple:
        gradients = backward_operator()(gradient, *ctx.saved_tensors, *ctx.options)
        return (*(of_x if wanted else None for of_x, wanted in zip(gradients, ctx.needs_input_grad, strict=False)),
                *[None] * len(ctx.options))

    return define_operator("attention", fake, backward, setup_context)


@functools.cache
def backward_operator() -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None:
    """Return ``mfugaku::attention_backward``, or None when it was not built."""

    def fake(gradient, query, key, value, *rest):
        return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)

    return define_operator("attention_backward", fake)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, is_causal: bool = True,
              p: float = 0.0, seed: int = 0, first_head: int = 0, heads_of_model: int | None = None) -> torch.Tensor:
    """Return ``dropout(softmax(scale * query key^T)) value`` for each head, with gradients for all three.

    Args:
        query: [Sq, B, H, D], floating; the last dimension contiguous, or it is copied.
        key, value: [Sk, B, G, D]; H is a multiple of G, and successive heads share one of G.
        scale: above 0.
        is_causal: query i sees the keys up to i + Sk - Sq.
        p: probability of dropping a probability.
        seed: 64 bits, of which with heads and positions the mask follows; see :func:`.dropout.draw_seed`.
        first_head, heads_of_model: which heads of the model these are, so that the mask does not depend on how heads
            are spread over processes; None: they are all.

    Raises:
        ValueError: shapes do not fit, or p is not in [0, 1).
    """
    if query.ndim != 4 or key.shape != value.shape or key.ndim != 4 or key.shape[0] == 0 or (
            query.shape[1], query.shape[3]) != (key.shape[1], key.shape[3]) or query.shape[2] % max(1, key.shape[2]):
        raise ValueError(f"query, key and value of shapes {tuple(query.shape)}, {tuple(key.shape)} and "
                         f"{tuple(value.shape)} do not fit each other")
    if is_causal and key.shape[0] < query.shape[0]:
        raise ValueError(f"a causal mask for {query.shape[0]} queries needs as many keys, not {key.shape[0]}")
    if not 0 <= p < 1:
        raise ValueError(f"the probability of dropout is {p}, not from 0 to below 1")
    options = (scale, is_causal, p, seed, 0, first_head, heads_of_model or query.shape[2])
    run = operator() if runs_kernel("attention", query, key, value) else None
    return reference(query, key, value, *options) if run is None else run(query, key, value, *options)[0]
