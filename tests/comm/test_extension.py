"""Loading the extension, and what it says when that fails."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import megatron_fugaku.comm as comm
from megatron_fugaku.comm import extension
from megatron_fugaku.errors import EnvironmentError


def forget_the_choice() -> None:
    extension.find_extension.cache_clear()
    extension.load_extension.cache_clear()


@pytest.fixture
def fresh_loader():
    forget_the_choice()
    yield extension.load_extension
    forget_the_choice()


def test_build_facts_fit_what_runs():
    facts = comm.build_info()
    assert facts["torch_version"].split(".")[:2] == torch.__version__.split(".")[:2]
    assert set(facts) >= {"mpi_vendor", "mpi_version", "mpi_standard", "compiler", "torch_version"}
    assert comm.mpi_library_version()


def test_another_torch_asks_for_a_rebuild(fresh_loader, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(EnvironmentError, match=r"built for torch 2\.\d+.*but this is torch 2\.9\.1.*Rebuild"):
        fresh_loader()


def test_a_missing_extension_names_what_to_install(fresh_loader, monkeypatch, tmp_path):
    monkeypatch.setattr(extension, "__file__", str(tmp_path / "extension.py"))
    with pytest.raises(EnvironmentError, match=r"not built.*libopenmpi-dev.*MPICXX"):
        fresh_loader()


def test_an_extension_of_another_python_is_not_called_missing(fresh_loader, monkeypatch, tmp_path):
    shutil.copy(extension.find_extension().path, tmp_path / "_mpi_openmpi.cpython-399-any.so")
    forget_the_choice()
    monkeypatch.setattr(extension, "__file__", str(tmp_path / "extension.py"))
    with pytest.raises(EnvironmentError, match=r"for another Python \(_mpi_openmpi.cpython-399-any.so\), but"):
        fresh_loader()


def import_a_changed_copy(folder: Path, change) -> subprocess.CompletedProcess[str]:
    """Import the backend in a new process, from a copy of the package whose extension ``change`` has altered."""
    copy = folder / "megatron_fugaku"
    source = Path(extension.__file__).parents[1]
    for path in source.rglob("*.py"):
        target = copy / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    built = extension.find_extension().path
    target = copy / "comm" / built.name
    target.write_bytes(change(built.read_bytes()))
    code = ("from megatron_fugaku.comm import extension\n"
            f"assert extension.__file__.startswith({str(folder)!r})\n"
            "try: extension.load_extension()\n"
            "except extension.EnvironmentError as error: print(error)\n")
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(folder)}, timeout=60, check=True)


def to_other_processor(data: bytes) -> bytes:
    other = {"x86_64": 183, "aarch64": 62}[platform.machine()]
    return data[:18] + struct.pack("<H", other) + data[20:]


def to_missing_mpi(data: bytes) -> bytes:
    changed, number = re.subn(rb"\0(libmpi(?:ch)?\.so)\.\d\d\0", rb"\0\1.99\0", data)
    assert number
    return changed


def to_newer_torch(data: bytes) -> bytes:
    constructor = b"\0_ZN4c10d7BackendC2Eii\0"  # of c10d::Backend, which torch defines
    assert constructor in data
    return data.replace(constructor, constructor[:-2] + b"z\0")


@pytest.mark.parametrize(("change", "part"), [
    (to_other_processor, r"the MPI backend was built for (aarch64|x86_64), but this is (aarch64|x86_64)\. "),
    (to_missing_mpi, r"the MPI backend needs libmpi(ch)?.so.99 \(an MPI\), which is not found at run time\. "),
    (to_newer_torch, r"the MPI backend needs _ZN4c10d7BackendC2Eiz, which is not in torch 2\.\d+.*another torch"),
    (lambda data: data[:4000], r".*_mpi\S+ \(4000 bytes\) is not a whole shared library\. "),
], ids=["other processor", "missing MPI", "newer torch", "cut off"])
def test_an_unloadable_extension_says_why(tmp_path, change, part):
    done = import_a_changed_copy(tmp_path, change)
    assert re.match(part, done.stdout), done.stdout + done.stderr
    assert done.stdout.endswith("[megatron_fugaku.comm._mpi]\n")


def test_importing_starts_no_mpi_and_loads_no_extension():
    code = (
        "import sys, megatron_fugaku.comm, torch.distributed as dist\n"
        "assert 'megatron_fugaku.comm._mpi' not in sys.modules\n"
        "assert dist.is_mpi_available() and 'mfugaku' in dist.Backend.backend_list\n"
        "megatron_fugaku.comm.register()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
