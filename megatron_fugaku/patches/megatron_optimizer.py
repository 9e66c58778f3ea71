"""megatron-core's optimizers with an AdamW that has Apex's interface."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

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


def build_without_gradients(original: Callable) -> Callable:
    """Return a method that writes into parameters as an optimizer does: beside the graph of gradients."""

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return original(*args, **kwargs)

    return wrapper
