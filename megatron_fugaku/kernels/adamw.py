"""One step of AdamW (Loshchilov and Hutter, arXiv:1711.05101) in one pass over memory, in place.

Instead of a division and a root the kernel has a few multiplications, so that an A64FX need not wait for either. Its
errors stand in ``csrc/kernels/adamw/adamw.h``: that of a parameter is at most 1.2e-7 of it and 6e-7 of its update. The
same bits on every machine and for any number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from megatron_fugaku.kernels.extension import define_operator, runs_kernel


def reference(parameter: torch.Tensor, gradient: torch.Tensor, first: torch.Tensor, second: torch.Tensor,
              low: torch.Tensor | None, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
              step: int, scale: float, decoupled: bool) -> None:
    """What the operator does, in plain torch, in the dtype of ``parameter``: see :func:`adamw`."""
    gradient = gradient.to(parameter.dtype) * scale
    if not decoupled:
        gradient = gradient + weight_decay * parameter
    first.mul_(beta1).add_(gradient, alpha=1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    denominator = (second / (1 - beta2**step)).sqrt() + eps
    if decoupled:
        parameter.mul_(1 - lr * weight_decay)
    parameter.sub_(lr / (1 - beta1**step) * first / denominator)
    if low is not None:
        low.copy_(parameter)


@functools.cache
def operator() -> Callable[..., None] | None:
    """Return ``mfugaku::adamw``, with the arguments of :func:`reference`, or None when it was not built."""
    return define_operator("adamw", lambda *arguments: None)


def is_for_kernel(parameter: torch.Tensor, gradient: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> bool:
    """Return whether the kernel is for these tensors and was not chosen against: float32 and contiguous."""
    return (parameter.dtype == torch.float32 and runs_kernel("adamw", parameter, gradient, first, second)
            and all(tensor.is_contiguous() for tensor in (parameter, first, second)) and operator() is not None)


@torch.no_grad()
def adamw(parameter: torch.Tensor, gradient: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, lr: float,
          betas: tuple[float, float], eps: float, weight_decay: float, step: int, scale: float = 1.0,
          decoupled: bool = True, low: torch.Tensor | None = None) -> None:
    """Update a parameter and its moments in place. There is no gradient of this.

    Args:
        parameter, first, second: any shape, float32 (or float64, by torch): the parameter and its two moments.
        gradient: as many elements; of the dtype of ``parameter``, or of ``low``.
        lr: learning rate.
        betas: decay of the moments, in [0, 1).
        eps: added to the root of the second moment.
        weight_decay: decoupled, or else added to the gradient.
        step: of this update, from 1.
        scale: by which the gradient is multiplied before anything else, such as what clips its norm.
        decoupled: AdamW; False: Adam.
        low: as many elements in bfloat16 or float16, which become those of the parameter, rounded once.

    Raises:
        ValueError: the step is below 1.
        RuntimeError: shapes or dtypes do not fit.
    """
    if step < 1:
        raise ValueError(f"steps of an optimizer are counted from 1, and this is step {step}")
    wide = parameter if low is not None and gradient.dtype == low.dtype else gradient
    run = operator() if is_for_kernel(parameter, wide, first, second) else None
    (reference if run is None else run)(parameter, gradient, first, second, low, lr, *betas, eps, weight_decay, step,
                                        scale, decoupled)
    if run is not None:
        torch.autograd.graph.increment_version(parameter)  # of a tensor that a graph holds: an error, as torch's are
