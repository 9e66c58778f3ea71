"""What every test shares: one thread per process, no variables of the caller, reproducible random examples."""

from __future__ import annotations

import os

# Before torch is imported: workers and ranks share few cores.
os.environ["OMP_NUM_THREADS"] = "1"
for _name in [name for name in os.environ if name.startswith("MFUGAKU_") and name != "MFUGAKU_CACHE"]:
    del os.environ[_name]

from hypothesis import settings  # noqa: E402

settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")
