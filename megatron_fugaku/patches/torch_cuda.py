"""Shims of ``torch.cuda``: the names megatron-core calls on every device, answered by the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from megatron_fugaku.patches.cuda_names import CPU


def build_current_device(original: Callable) -> Callable:
    """Return a function that answers the CPU device."""

    def current_device() -> torch.device:
        """The device of this process: the CPU."""
        return CPU

    return current_device


def build_synchronize(original: Callable) -> Callable:
    """Return a function that does nothing: CPU operations have finished when they return."""

    def synchronize(device: Any = None) -> None:
        """Nothing runs behind the caller's back on a CPU."""

    return synchronize


def build_get_rng_state(original: Callable) -> Callable:
    """Return a function that reads the CPU generator, the one that CPU dropout draws from."""

    def get_rng_state(device: Any = "cuda") -> torch.Tensor:
        """State of the default CPU generator, uint8 [5056]."""
        return torch.get_rng_state()

    return get_rng_state


def build_manual_seed(original: Callable) -> Callable:
    """Return a function that seeds the CPU generator."""

    def manual_seed(seed: int) -> None:
        """Seed the default CPU generator."""
        torch.default_generator.manual_seed(int(seed))

    return manual_seed


def check_generator() -> str | None:
    """Self-check: seeding through ``torch.cuda`` decides what CPU dropout draws."""
    state = torch.get_rng_state()
    try:
        torch.cuda.manual_seed(7)
        first = torch.rand(4)
        torch.cuda.manual_seed(7)
        if not torch.equal(first, torch.rand(4)):
            return "torch.cuda.manual_seed does not seed the CPU generator"
    finally:
        torch.set_rng_state(state)
    return None
