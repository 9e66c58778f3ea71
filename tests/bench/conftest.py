from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from megatron_fugaku.bench import a64fx_counts, a64fx_cycles
from megatron_fugaku.bench.smpi import build_simulator
from megatron_fugaku.errors import EnvironmentError


@pytest.fixture(scope="session")
def simulator_program(tmp_path_factory):
    """The program that carries collectives out on simulated networks."""
    if shutil.which("smpirun") is None or shutil.which("smpicxx") is None:
        pytest.skip("SimGrid is not installed: apt-get install libsimgrid-dev")
    return build_simulator(tmp_path_factory.mktemp("smpi"))


@pytest.fixture(scope="session")
def llvm_tools() -> None:
    """LLVM's tools, which cycles are modelled with."""
    try:
        a64fx_cycles.check_tools()
    except EnvironmentError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def counter(tmp_path_factory) -> Path:
    """The plugin that counts; with it there are QEMU and a compiler for aarch64."""
    folder = tmp_path_factory.mktemp("counter")
    try:
        emulator = a64fx_counts.find_emulator()
        a64fx_counts.find_cross_compiler()
    except EnvironmentError as error:
        pytest.skip(str(error))
    plugin = a64fx_counts.build_counter(folder)
    said = subprocess.run([emulator, "-plugin", f"{plugin},out={folder / 'out'}", "no-such-program"],
                          capture_output=True, text=True, check=False).stderr
    if "API version" in said:
        pytest.skip(f"this QEMU takes no plugins of the version that ours is: {said.strip()}")
    return plugin


@pytest.fixture(scope="session")
def kernel_bench(counter, tmp_path_factory) -> Path:
    """The program with the cases of our kernels, for aarch64."""
    return a64fx_counts.build_bench(tmp_path_factory.mktemp("kernel_bench"))
