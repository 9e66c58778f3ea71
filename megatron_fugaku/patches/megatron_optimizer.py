"""megatron-core's optimizers with an AdamW that has Apex's interface, and its norm of gradients."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from megatron_fugaku.kernels import grad_norm
from megatron_fugaku.kernels.extension import runs_kernel
from megatron_fugaku.patches.adamw import FusedAdamW


def build_adam(original: type) -> type:
    """Return the optimizer class that takes the place of Apex's FusedAdam."""
    return FusedAdamW


def build_true(original: Any) -> bool:
    """Return True in place of a module's flag."""
    return True


def build_false(original: Any) -> bool:
    """Return False in place of a module's flag."""
    return False


def build_l2_norm(original: Callable) -> Callable:
    """Return the norm of lists of tensors whose bits do not depend on the number of threads, where our operator is."""

    def l2_norm(chunk_size: int, noop_flag: torch.Tensor, tensor_lists: Sequence[Sequence[torch.Tensor]],
                per_tensor: bool, *rest: Any) -> tuple[torch.Tensor, None]:
        tensors = [tensor for some in tensor_lists for tensor in some]
        if per_tensor or grad_norm.operator() is None or not all(runs_kernel("grad_norm", x) for x in tensors):
            return original(chunk_size, noop_flag, tensor_lists, per_tensor, *rest)
        total = sum(float(grad_norm.sum_of_squares(tensor)) for tensor in tensors)
        return torch.tensor([math.sqrt(total)], dtype=torch.float32), None

    return l2_norm


def build_without_gradients(original: Callable) -> Callable:
    """Return a method that writes into parameters as an optimizer does: beside the graph of gradients."""

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return original(*args, **kwargs)

    return wrapper
