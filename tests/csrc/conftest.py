"""The C++ tests of the kernels and of the MPI backend's core, built once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stretch import stretched

from megatron_fugaku import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def kernel_tests_for(tmp_path_factory) -> Callable[[str], Path]:
    """What `build_kernel_tests` makes for a sanitizer (`address`, `thread` or none), once asked for; for none, the
    executable that MFUGAKU_KERNEL_TESTS names, if it does."""
    built: dict[str, Path] = {}

    def build(sanitizer: str) -> Path:
        given = environment.get("MFUGAKU_KERNEL_TESTS")
        if given and not sanitizer:
            return Path(given)
        if not Path("/usr/include/doctest/doctest.h").exists() or shutil.which("g++") is None:
            pytest.skip("the kernels' C++ tests need g++ and doctest: apt-get install g++ doctest-dev")
        if sanitizer not in built:
            folder = tmp_path_factory.mktemp(f"kernel_tests_{sanitizer}")
            _build("build_kernel_tests", sanitizer, folder)
            built[sanitizer] = folder / "kernel_tests"
        return built[sanitizer]

    return build


@pytest.fixture(scope="session")
def kernel_tests(kernel_tests_for) -> Path:
    """The C++ tests of the kernels, without a sanitizer."""
    return kernel_tests_for("")


def _build(command: str, sanitizer: str, folder: Path) -> None:
    # As .ci/setup compiles, or else every test run would compile everything again.
    compiler = os.environ.get("CXX") or ("ccache g++" if shutil.which("ccache") else "g++")
    done = subprocess.run([sys.executable, "setup.py", "-q", command, f"--sanitize={sanitizer}", "--output",
                           str(folder)], cwd=ROOT, env=os.environ | {"CXX": compiler}, capture_output=True, text=True,
                          timeout=stretched(900), check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def comm_tests(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of what `build_comm_tests` makes for a sanitizer (`address`, `thread` or none), once asked for."""
    built: dict[str, Path] = {}

    def build(sanitizer: str) -> Path:
        if shutil.which("g++") is None or shutil.which("mpicxx") is None:
            pytest.skip("the C++ tests of the MPI backend need g++ and an MPI: apt-get install g++ libopenmpi-dev")
        if sanitizer not in built:
            folder = tmp_path_factory.mktemp(f"comm_tests_{sanitizer}")
            _build("build_comm_tests", sanitizer, folder)
            built[sanitizer] = folder
        return built[sanitizer]

    return build
