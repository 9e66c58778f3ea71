"""Cross-entropy of logits that may be cut along the vocabulary, without a second copy of them.

Forward reads the logits and keeps three numbers for each row; the gradient is written over the logits. The same bits on
every machine: ``csrc/kernels/cross_entropy``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from megatron_fugaku.kernels.extension import define_operator


def reference(logits: torch.Tensor, targets: torch.Tensor,
              first_column: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the operator computes, in plain torch: see :func:`operator`; float64 for float64 logits."""
    value = logits.double() if logits.dtype == torch.float64 else logits.float()
    largest = value.amax(-1)
    places = targets - first_column
    is_here = (places >= 0) & (places < value.shape[-1])
    at_target = value.gather(-1, places.clamp(0, value.shape[-1] - 1)[..., None])[..., 0]
    return largest, (value - largest[..., None]).exp().sum(-1), torch.where(is_here, at_target, 0.0)


def reference_backward(logits: torch.Tensor, targets: torch.Tensor, first_column: int, gradient: torch.Tensor,
                       largest: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Return what :func:`backward_operator` writes over the logits."""
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    result = (logits.to(wide) - largest[..., None]).exp() * factors[..., None]
    columns = torch.arange(first_column, first_column + logits.shape[-1])
    return torch.where(columns == targets[..., None], result - gradient[..., None], result).to(logits.dtype)


@functools.cache
def operator() -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None:
    """Return ``mfugaku::cross_entropy(logits, targets, first_column)``, or None when it was not built.

    From logits [..., V], the columns from ``first_column`` on of a vocabulary that ranks share, and targets [...] of
    int64 it returns, float32 [...]: the largest logit, the sum of the powers e^(logit - largest), and the logit of the
    target, 0 where the target is no column of these. It has no gradient of its own.
    """

    def fake(logits, targets, first_column):
        return tuple(logits.new_empty(logits.shape[:-1], dtype=torch.float32) for _ in range(3))

    return define_operator("cross_entropy", fake)


@functools.cache
def backward_operator() -> Callable[..., None] | None:
    """Return ``mfugaku::cross_entropy_backward``, or None when it was not built.

    Called with (logits, targets, first_column, gradient, largest, factors) it writes the gradient of the logits over
    them: float32 [...] each are the gradient of the losses, the largest logit of the whole vocabulary, and the gradient
    divided by the sum of its powers.
    """
    return define_operator("cross_entropy_backward", lambda *arguments: None)
