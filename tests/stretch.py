"""How much longer than usual tests may take on this machine: TEST_TIMEOUT_FACTOR, which an emulated processor needs."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

TIMEOUT_FACTOR = float(os.environ.get("TEST_TIMEOUT_FACTOR", "1"))


def stretched(seconds: float) -> float:
    """Return a time limit, made for a processor at its own speed, for this machine."""
    return seconds * TIMEOUT_FACTOR


def stretch_limits(items: Sequence[pytest.Item], default_s: float, factor: float = TIMEOUT_FACTOR) -> None:
    """Multiply the time limits of the tests, or `default_s` for those that state none."""
    if factor == 1:
        return
    for item in items:
        marker = item.get_closest_marker("timeout")
        limit_s = marker.args[0] if marker is not None else default_s
        item.add_marker(pytest.mark.timeout(limit_s * factor), append=False)
