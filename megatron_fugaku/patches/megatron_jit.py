"""megatron-core without torch.compile."""

from __future__ import annotations

from collections.abc import Callable


def build_plain_decorator(original: Callable) -> Callable:
    """Return a decorator that leaves a function as it is."""

    def jit_fuser(function: Callable) -> Callable:
        return function

    return jit_fuser
