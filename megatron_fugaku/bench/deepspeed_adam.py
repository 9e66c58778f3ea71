"""DeepSpeed's AdamW for CPUs, a peer of ours, where it is installed and compiles."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

Step = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def load_cpu_adam(lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> Step | None:
    """Return DeepSpeed's step, compiled if it was not before; None, with a warning that says why, where there is none.

    The step takes its number and a parameter, its gradient and its two moments, flat float32, updates them in place and
    returns the parameter.
    """
    try:
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        optimizer = DeepSpeedCPUAdam([torch.zeros(1)], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    except Exception as error:  # whatever its build ends in
        warnings.warn(f"DeepSpeed's CPU optimizer is not compared with: {type(error).__name__}: "
                      f"{str(error).partition(chr(10))[0]}", RuntimeWarning, stacklevel=2)
        return None

    def step(number: int, parameter: torch.Tensor, gradient: torch.Tensor, first: torch.Tensor,
             second: torch.Tensor) -> torch.Tensor:
        optimizer.ds_opt_adam.adam_update(optimizer.opt_id, number, lr, *betas, eps, weight_decay, True, parameter,
                                          gradient, first, second)
        return parameter

    return step
