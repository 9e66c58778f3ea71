"""megatron-core's random states, kept in the CPU generator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch


def build_set_rng_state(original: Callable) -> Callable:
    """Return ``_set_cuda_rng_state`` on the CPU generator."""

    def _set_cuda_rng_state(new_state: torch.Tensor, device: Any = -1, graph_safe: bool = False) -> None:
        torch.set_rng_state(new_state)

    return _set_cuda_rng_state


def build_fork(original: Callable) -> Callable:
    """Return ``CudaRNGStatesTracker.fork`` on the CPU generator.

    Upstream keeps two generators, draws from the CUDA one, and warns when the CPU one moved meanwhile. Here they are
    one. Named states, nesting and restoration after an exception are as upstream has them.
    """

    @contextlib.contextmanager
    def fork(self: Any, name: str = "model-parallel-rng") -> Iterator[None]:
        if name not in self.states_:
            raise Exception(f"cuda rng state {name} is not added")
        # Before 0.16 upstream does not know which state is in use, and a fork inside a fork of the same state starts
        # from where the outer one started.
        outer_name, outer_state = getattr(self, "_current_state_name", "default-rng"), torch.get_rng_state()
        if outer_name != "default-rng":
            self.states_[outer_name] = outer_state
        torch.set_rng_state(self.states_[name])
        self._current_state_name = name
        try:
            yield
        finally:
            self.states_[name] = torch.get_rng_state()
            torch.set_rng_state(self.states_[outer_name] if outer_name != "default-rng" else outer_state)
            self._current_state_name = outer_name

    return fork
