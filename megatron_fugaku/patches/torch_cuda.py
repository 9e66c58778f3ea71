"""Shims of ``torch.cuda``: the names megatron-core calls on every device, answered by the CPU."""

from __future__ import annotations

import functools
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


def build_set_rng_state(original: Callable) -> Callable:
    """Return a function that sets the CPU generator."""

    def set_rng_state(new_state: torch.Tensor, device: Any = "cuda") -> None:
        """Set the default CPU generator to a state, uint8 [5056]."""
        torch.set_rng_state(new_state)

    return set_rng_state


def build_data_parallel_init(original: Callable) -> Callable:
    """Return ``DistributedDataParallel.__init__`` that takes a module to be where it is: on the CPU, which torch wants
    unnamed."""

    @functools.wraps(original)
    def __init__(self: Any, module: torch.nn.Module, device_ids: Any = None, output_device: Any = None, *args: Any,
                 **kwargs: Any) -> None:
        original(self, module, None, None, *args, **kwargs)

    return __init__


def build_device_count(original: Callable) -> Callable:
    """Return a function that gives every rank of this node a device of its own, which is the CPU each time."""

    # torch and programs keep what this remembers: `device_count.cache_clear()` is called.
    @functools.lru_cache(maxsize=1)
    def device_count() -> int:
        """Ranks on this node."""
        from megatron_fugaku.comm.rank_info import rank_info

        return rank_info().local_world_size

    return device_count


def build_cpu_type(original: type) -> type:
    """Return the type of CPU tensors of the same name, such as ``torch.FloatTensor`` for ``torch.cuda.FloatTensor``."""
    return getattr(torch, original.__name__)


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
