"""Dropout whose mask is a function of seed and position, alone and fused with a bias and a residual.

torch draws a mask on the CPU in one thread and keeps it in memory for the gradient. Here every element's fate follows
from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) applied to its position, so
that any thread computes it, and the gradient computes it again. ``csrc/kernels/dropout/dropout.h`` defines the mask to
the bit: it is the same on every machine and for any number of threads.

The seed is one draw from a torch generator for each call. Whatever saves, restores or forks the state of torch's
generators therefore governs these masks too: runs resume exactly, and recomputation in the backward pass drops the
same elements.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.kernels.extension import define_operator, fake_like, runs_kernel, sum_over_rows
from megatron_fugaku.kernels.philox import LOW, philox

_GROUP, _WORDS = 256, 4
_BLOCKS = _GROUP // _WORDS


def keep_mask(shape: tuple[int, ...] | torch.Size, p: float, seed: int, offset: int = 0) -> torch.Tensor:
    """Return which elements of a tensor of ``shape`` dropout keeps: bool, on the CPU.

    Args:
        p: probability of dropping, rounded to a multiple of 2^-32.
        seed, offset: 64-bit integers of either sign.
    """
    count = torch.Size(shape).numel()
    groups = torch.arange(-(-count // _GROUP))
    block = (groups[:, None] * _BLOCKS + torch.arange(_BLOCKS)).flatten()
    counter = [block & LOW, block >> 32, *(torch.full_like(block, word) for word in (offset & LOW, offset >> 32 & LOW))]
    words = torch.stack(philox(counter, seed)).reshape(_WORDS, -1, _BLOCKS).transpose(0, 1)
    return (words.reshape(-1)[:count] >= min(round(p * 2**32), LOW)).reshape(shape)


def reference(x: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None, p: float, seed: int,
              offset: int = 0) -> torch.Tensor:
    """What the operator computes, in plain torch: [..., H], [H], [..., H] to [..., H] in the dtype of ``x``."""
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    value = x.to(wide)
    if bias is not None:
        value = value + bias.to(wide)
    keep = keep_mask(x.shape, p, seed, offset).to(x.device)
    value = torch.where(keep, value * (1 / (1 - p)), 0.0)
    if residual is not None:
        value = residual.to(wide) + value
    return value.to(x.dtype)


@functools.cache
def operator() -> Callable[..., torch.Tensor] | None:
    """Return ``mfugaku::dropout(x, bias, residual, p, seed, offset)``, or None when it was not built."""

    def fake(x, bias, residual, p, seed, offset):
        return fake_like(x)

    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        ctx.call = inputs[3:]

    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        wants_x, wants_bias, wants_residual = ctx.needs_input_grad[:3]
        of_x = operator()(gradient, None, None, *ctx.call) if wants_x or wants_bias else None
        return (of_x if wants_x else None, sum_over_rows(of_x) if wants_bias else None,
                gradient if wants_residual else None, None, None, None)

    return define_operator("dropout", fake, backward, setup_context)


def draw_seed(generator: torch.Generator | None = None) -> int:
    """Return a 64-bit seed: one draw from ``generator``, or from torch's default one."""
    return int(torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64, generator=generator))


def bias_dropout_add(x: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None, p: float,
                     training: bool = True, generator: torch.Generator | None = None) -> torch.Tensor:
    """Return ``residual + dropout(x + bias)``, with gradients for all three.

    Args:
        x: [..., H], floating.
        bias: [H], or None.
        residual: shape of ``x``, or None; it is converted to the dtype of ``x``, as megatron-core does.
        p: probability of dropping an element; what is kept is multiplied by 1 / (1 - p).
        training: without it nothing is dropped, and no generator is asked.
        generator: asked once for a seed; None is torch's default generator.

    Raises:
        ValueError: p is not in [0, 1], or shapes do not fit.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"the probability of dropout is {p}, not between 0 and 1")
    if bias is not None and (x.ndim == 0 or bias.shape != x.shape[-1:]):
        raise ValueError(f"a bias of shape {tuple(bias.shape)} does not fit x of shape {tuple(x.shape)}")
    if residual is not None:
        if residual.shape != x.shape:
            raise ValueError(f"a residual of shape {tuple(residual.shape)} does not fit x of shape {tuple(x.shape)}")
        residual = residual.to(x.dtype)
    if not training or p == 0 or p == 1:
        value = x if bias is None else x + bias
        value = torch.nn.functional.dropout(value, p, training) if p == 1 else value
        return value if residual is None else residual + value
    seed = draw_seed(generator)
    run = operator() if runs_kernel("dropout", x, bias, residual) else None
    return (reference if run is None else run)(x, bias, residual, p, seed, 0)


def dropout(x: torch.Tensor, p: float, training: bool = True,
            generator: torch.Generator | None = None) -> torch.Tensor:
    """Return ``x`` with elements set to 0 with probability ``p`` and the others multiplied by 1 / (1 - p).

    See :func:`bias_dropout_add`.
    """
    return bias_dropout_add(x, None, None, p, training, generator)
