"""Reading the flight recorder's files; tests/comm/test_recorder.py reads those of real ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.errors import DataError
from megatron_fugaku.flight import files, load_flight, path_of


@pytest.mark.parametrize(("text", "ranks"), [("", ()), ("7", (7,)), ("0-3", (0, 1, 2, 3)), ("0-4:2,9", (0, 2, 4, 9)),
                                             ("5,3,0-10:5", (5, 3, 0, 5, 10))])
def test_ranks(text, ranks):
    assert files.parse_ranks(text) == ranks


@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 2000))
def test_runs_of_ranks(first, step, length):
    ranks = tuple(range(first, first + step * length, step))
    assert files.parse_ranks(f"{first}-{ranks[-1]}:{step}") == ranks


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no file of the flight recorder.*MFUGAKU_COMM_FLIGHT_DIR"):
        load_flight(tmp_path)


@pytest.mark.parametrize("content", [b"", b"mfugaku flight 1", b"another file" * 1000])
def test_a_file_that_is_being_made_or_is_another_is_passed_over(tmp_path, content):
    path_of(tmp_path, 3).write_bytes(content)
    with pytest.raises(DataError, match="holds no file"):
        load_flight(tmp_path)


def test_processes_are_alive_gone_or_unknown():
    here = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child_pid = child.pid
    while "zombie" not in Path(f"/proc/{child_pid}/status").read_text():
        pass
    assert files._is_alive(os.getpid(), here) is True
    assert files._is_alive(child_pid, here) is False  # it has ended, though nobody has asked how
    child.wait()
    assert files._is_alive(child_pid, here) is False
    assert files._is_alive(os.getpid(), "another start") is None
