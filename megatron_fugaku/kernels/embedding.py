"""Rows of a table that ranks may share, and their gradient, summed in float32 in the order of the tokens.

megatron-core masks the tokens of other ranks before torch looks rows up and once more afterwards, and torch adds the
gradients of bfloat16 up in bfloat16. Here both are one pass, the same bits on every machine and for any number of
threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import define_operator, runs_kernel


def reference(weight: torch.Tensor, tokens: torch.Tensor, first_row: int, vocabulary: int) -> torch.Tensor:
    """What the operator computes, in plain torch: [R, H] and [...] to [..., H]; see :func:`embedding`."""
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
        raise RuntimeError(f"a token is not in the vocabulary of {vocabulary}.")
    places = tokens - first_row
    is_here = (places >= 0) & (places < weight.shape[0])
    rows = torch.nn.functional.embedding(torch.where(is_here, places, 0), weight)
    return torch.where(is_here[..., None], rows, 0.0)


@functools.cache
def operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::embedding(weight, tokens, first_row, vocabulary)``, or None when it was not built."""

    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        weight, tokens, ctx.first_row, _ = inputs
        ctx.num_rows = weight.shape[0]
        ctx.save_for_backward(tokens)

    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        return backward_operator()(gradient, *ctx.saved_tensors, ctx.first_row, ctx.num_rows), None, None, None

    def fake(weight, tokens, first_row, vocabulary):
        return weight.new_empty((*tokens.shape, weight.shape[1]))

    return define_operator("embedding", fake, backward, setup_context)


@functools.cache
def backward_operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::embedding_backward(gradient, tokens, first_row, num_rows)``, or None when it was not built."""

    def fake(gradient, tokens, first_row, num_rows):
        return gradient.new_empty((num_rows, gradient.shape[-1]))

    return define_operator("embedding_backward", fake)


def embedding(weight: torch.Tensor, tokens: torch.Tensor, first_row: int = 0,
              vocabulary: int | None = None) -> torch.Tensor:
    """Return the row of each token, [..., H], and zeros for those whose row is none of these; differentiable by weight.

    Args:
        weight: rows ``first_row`` and on of a table, [R, H], floating.
        tokens: numbers of rows of the whole table, int64 [...].
        first_row: of the whole table.
        vocabulary: rows of the whole table; None: those of ``weight`` are all there is behind ``first_row``.

    Raises:
        RuntimeError: a token is negative or not below ``vocabulary``.
    """
    vocabulary = first_row + weight.shape[0] if vocabulary is None else vocabulary
    run = operator() if runs_kernel("embedding", weight) else None
    return (reference if run is None else run)(weight, tokens, first_row, vocabulary)
