"""The C++ tests of the kernels, on every instruction set that this CPU has."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from stretch import stretched

#: Sanitizers, and the test cases that run under them: those of several threads, where it is about threads.
SANITIZERS = {"address": [], "thread": ["--test-case=*products*,*attention*,*halves give*"]}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_sanitizers_find_nothing(kernel_tests_for, sanitizer):
    done = subprocess.run([kernel_tests_for(sanitizer), "--no-intro", *SANITIZERS[sanitizer]], capture_output=True,
                          text=True, timeout=stretched(600), check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert int(re.search(r"test cases:\s*(\d+)", done.stdout)[1]) >= 2


@pytest.mark.timeout(1500)
def test_the_kernels_pass_on_every_instruction_set_of_this_cpu(kernel_tests):
    done = subprocess.run([kernel_tests, "--no-intro"], capture_output=True, text=True, timeout=stretched(600),
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ran, passed = map(int, re.search(r"test cases:\s*(\d+)\s*\|\s*(\d+) passed", done.stdout).groups())
    # One TEST_CASE missing here is a file that was not compiled.
    declared = sum(path.read_text().count("TEST_CASE(") for path in Path(__file__).parent.glob("*.cpp"))
    assert ran == passed == declared
