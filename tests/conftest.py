"""What every test shares: one thread per process, no variables of the caller, reproducible random examples."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

# Before torch is imported: workers and ranks share few cores.
os.environ["OMP_NUM_THREADS"] = "1"
_kept = ("MFUGAKU_CACHE", "MFUGAKU_KERNEL_TESTS", "MFUGAKU_COMM_TESTS")
for _name in [name for name in os.environ if name.startswith("MFUGAKU_") and name not in _kept]:
    del os.environ[_name]

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from small_run import build_small_data  # noqa: E402
from stretch import stretch_limits  # noqa: E402

settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Stretch the time limits of all tests by TEST_TIMEOUT_FACTOR. Files with slow tests come first, so that no worker
    is left with one of them when the others have nothing to do any more."""
    stretch_limits(items, float(config.getini("timeout")))
    num_slow = Counter(item.path for item in items if item.get_closest_marker("slow") is not None)
    items.sort(key=lambda item: -num_slow[item.path])


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small data folder, made once."""
    return build_small_data(tmp_path_factory.mktemp("small_data"))
