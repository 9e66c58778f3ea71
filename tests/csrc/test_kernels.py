"""The C++ tests of the kernels, on every instruction set that this CPU has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_fugaku import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def executable(tmp_path_factory) -> Path:
    """The tests that MFUGAKU_KERNEL_TESTS names, or else built from this tree."""
    given = environment.get("MFUGAKU_KERNEL_TESTS")
    if given:
        return Path(given)
    if not Path("/usr/include/doctest/doctest.h").exists() or shutil.which("g++") is None:
        pytest.skip("the kernels' C++ tests need g++ and doctest: apt-get install g++ doctest-dev")
    folder = tmp_path_factory.mktemp("kernel_tests")
    build = subprocess.run([sys.executable, "setup.py", "-q", "build_kernel_tests", "--output", str(folder)], cwd=ROOT,
                           capture_output=True, text=True, timeout=900)
    assert build.returncode == 0, build.stdout + build.stderr
    return folder / "kernel_tests"


def test_the_kernels_pass_on_every_instruction_set_of_this_cpu(executable):
    done = subprocess.run([executable, "--no-intro"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    ran, passed = map(int, re.search(r"test cases:\s*(\d+)\s*\|\s*(\d+) passed", done.stdout).groups())
    # One TEST_CASE missing here is a file that was not compiled.
    declared = sum(path.read_text().count("TEST_CASE(") for path in Path(__file__).parent.glob("*.cpp"))
    assert ran == passed == declared
