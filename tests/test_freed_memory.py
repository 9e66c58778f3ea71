"""A process that keeps freed memory takes it anew without the kernel's help, unless its user decided otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
from megatron_fugaku.freed_memory import keep_freed_memory

kept = keep_freed_memory()
import torch

def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(mebibytes << 18) for mebibytes in range(8, 33)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

step()
print(json.dumps([kept, step()]))
"""
NUM_PAGES = (sum(range(8, 33)) << 20) // os.sysconf("SC_PAGE_SIZE")


def run(**variables: str) -> tuple[bool, int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr
    kept, faults = json.loads(done.stdout)
    return kept, faults


def test_the_second_step_lies_where_the_first_one_was():
    kept, faults = run()
    assert kept and faults < NUM_PAGES // 5


@pytest.mark.parametrize("variables", [
    {"MFUGAKU_KEEP_FREED_MEMORY": "0"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576"},
    {"MALLOC_MMAP_THRESHOLD_": "1048576"}])
def test_a_user_decides(variables):
    kept, faults = run(**variables)
    assert not kept and faults > NUM_PAGES // 2
