"""Checkpoints that are written while training goes on, without a process of their own."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mpi_helpers import run_mpi

from megatron_fugaku.patches.megatron_checkpoint import build_schedule_call, own

WORKER = Path(__file__).parent / "workers" / "async_save.py"


def test_what_is_written_is_not_what_training_changes():
    tensor = torch.arange(6.0).reshape(2, 3).t()
    kept = own([("file", (["bytes"], [("item", tensor)])), {"key": tensor}, 3])
    tensor.zero_()
    assert kept[0][0] == "file" and kept[0][1][0] == ["bytes"] and kept[2] == 3
    for copy in (kept[0][1][1][0][1], kept[1]["key"]):
        assert torch.equal(copy, torch.arange(6.0).reshape(2, 3).t())


def test_the_call_is_in_another_thread_and_gets_what_was_staged():
    seen: list[tuple] = []
    staged = torch.ones(2)
    request = SimpleNamespace(async_fn=lambda *words, **named: seen.append((threading.current_thread(), words, named)),
                              async_fn_args=[0, "to be staged", 2], async_fn_kwargs={"a": 1}, preload_fn=lambda: staged)
    caller = SimpleNamespace()
    build_schedule_call(None)(caller, request)
    caller.process.join()
    [(thread, (first, second, third), named)] = seen
    assert thread is not threading.main_thread() and not caller.process.is_alive()
    assert (first, third, named) == (0, 2, {"a": 1})
    assert torch.equal(second, staged) and second.data_ptr() != staged.data_ptr()


def test_nothing_to_write_starts_nothing():
    caller = SimpleNamespace(process=None)
    build_schedule_call(None)(caller, SimpleNamespace(async_fn=None))
    assert caller.process is None


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("worker", ["temporal", "persistent"])
def test_megatron_core_saves_asynchronously(worker, tmp_path):
    """Two saves in flight, and the tensors changed behind them."""
    done = run_mpi(["-m", "megatron_fugaku", "run", WORKER, tmp_path, worker], 2, timeout_s=150)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("saved 1 and 2") == 2
