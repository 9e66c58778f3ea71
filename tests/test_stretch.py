"""Time limits on slow processors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stretch import stretch_limits


def limit_of(item: pytest.Item) -> float | None:
    marker = item.get_closest_marker("timeout")
    return marker.args[0] if marker else None


@pytest.mark.timeout(50)
def test_a_stated_limit_is_multiplied(request):
    stretch_limits([request.node], 300, factor=1)
    assert limit_of(request.node) == 50
    stretch_limits([request.node], 300, factor=4)
    assert limit_of(request.node) == 200


def test_the_default_is_multiplied_where_none_is_stated(request):
    stretch_limits([request.node], 300, factor=1)
    stated = limit_of(request.node)
    stretch_limits([request.node], 300, factor=0.5)
    assert limit_of(request.node) == (stated or 300) / 2


def test_the_variable_is_read():
    code = "import stretch; print(stretch.stretched(12))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True,
                          env={**os.environ, "TEST_TIMEOUT_FACTOR": "2.5"}, check=True)
    assert done.stdout == "30.0\n"
