"""megatron-core's optimizers with an AdamW that has Apex's interface."""

from __future__ import annotations

from typing import Any

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
