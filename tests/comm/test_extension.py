"""Loading the extension, and what it says when that fails."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

import megatron_fugaku.comm as comm
from megatron_fugaku.comm import extension
from megatron_fugaku.errors import EnvironmentError


@pytest.fixture
def fresh_loader():
    extension.load_extension.cache_clear()
    yield extension.load_extension
    extension.load_extension.cache_clear()


def test_build_facts_fit_what_runs():
    facts = comm.build_info()
    assert facts["torch_version"].split(".")[:2] == torch.__version__.split(".")[:2]
    assert set(facts) >= {"mpi_vendor", "mpi_version", "mpi_standard", "compiler", "torch_version"}
    assert comm.mpi_library_version()


def test_another_torch_asks_for_a_rebuild(fresh_loader, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(EnvironmentError, match=r"built for torch 2\.\d+.*but this is torch 2\.9\.1.*Rebuild"):
        fresh_loader()


def test_a_missing_extension_names_what_to_install(fresh_loader, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentError, match=r"not built.*libopenmpi-dev.*MPICXX"):
        fresh_loader()


def test_an_unloadable_extension_gives_the_loader_error(fresh_loader, monkeypatch):
    def fail(name):
        raise ImportError("undefined symbol: x")

    monkeypatch.setattr(extension.importlib, "import_module", fail)
    with pytest.raises(EnvironmentError, match=r"cannot be loaded.*undefined symbol: x.*Rebuild"):
        fresh_loader()


def test_importing_starts_no_mpi_and_loads_no_extension():
    code = (
        "import sys, megatron_fugaku.comm, torch.distributed as dist\n"
        "assert 'megatron_fugaku.comm._mpi' not in sys.modules\n"
        "assert dist.is_mpi_available() and 'mfugaku' in dist.Backend.backend_list\n"
        "megatron_fugaku.comm.register()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
