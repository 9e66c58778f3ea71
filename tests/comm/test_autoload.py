"""torch registers the backend by itself where the package is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from megatron_fugaku.comm import autoload, registration

WHAT_TORCH_KNOWS = """
import torch, sys
print(torch.distributed.is_mpi_available(), "mfugaku" in torch.distributed.Backend.backend_list,
      "megatron_fugaku.comm._mpi" in sys.modules, "megatron.core" in sys.modules)
"""


def run_python(code: str, **variables: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env={"PATH": "/usr/bin:/bin", **variables},
                          capture_output=True, text=True, timeout=100, check=True)
    return done.stdout.strip()


def test_importing_torch_is_enough_and_loads_no_mpi():
    assert run_python(WHAT_TORCH_KNOWS) == "True True False False"


def test_this_package_may_come_first():
    assert run_python("import megatron_fugaku.comm" + WHAT_TORCH_KNOWS) == "True True False False"


def test_torch_can_be_told_to_do_without():
    assert run_python(WHAT_TORCH_KNOWS, TORCH_DEVICE_BACKEND_AUTOLOAD="0") == "False False False False"


def test_one_process_needs_no_launcher_and_no_variables():
    assert run_python("import torch.distributed as dist; dist.init_process_group('mpi'); "
                      "print(dist.get_rank(), dist.get_world_size(), dist.get_backend())",
                      OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1") == "0 1 mpi"


def test_an_installation_that_is_damaged_leaves_torch_usable(monkeypatch):
    def fail():
        raise ImportError("half of it is gone")

    monkeypatch.setattr(registration, "register", fail)
    with pytest.warns(UserWarning, match="not registered: ImportError: half of it is gone"):
        autoload.register_with_torch()
