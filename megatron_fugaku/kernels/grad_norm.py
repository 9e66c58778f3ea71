"""The sum of the squares of a tensor, of which norms of gradients are made, the same for any number of threads.

torch cuts a tensor into as many parts as there are threads, so that the last bits of a norm, and with them those of all
weights behind a clipped gradient, depend on their number. ``csrc/kernels/reduce/reduce.h`` says how it is done here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from megatron_fugaku.kernels.extension import define_operator, runs_kernel


def reference(x: torch.Tensor) -> torch.Tensor:
    """What the operator computes, in plain torch: any shape to a float64 without dimensions."""
    return x.double().square().sum()


@functools.cache
def operator() -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return ``mfugaku::sum_of_squares(x)``, or None when it was not built. It has no gradient."""
    return define_operator("sum_of_squares", lambda x: x.new_empty((), dtype=torch.float64))


@torch.no_grad()
def sum_of_squares(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of the squares of all elements, float64 without dimensions; relative error below 3e-6.

    Args:
        x: any shape, floating.
    """
    run = operator() if runs_kernel("grad_norm", x) else None
    return (reference if run is None else run)(x)
