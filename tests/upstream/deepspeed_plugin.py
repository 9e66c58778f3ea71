"""A pytest plugin that runs DeepSpeed's distributed tests on the ranks of the job.

DeepSpeed's harness (``DistributedTest`` in its tests/unit/common.py) spawns the processes of a test from the one that
runs pytest. Processes that MPI did not start are no ranks of one job, so here every rank runs pytest and does itself
what the harness would let a spawned process do, with what rank 0 would have given it. Everything else of the harness
stays; a test of fewer ranks is one of the first of them.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from rank_plugin import agree, folder, rank

from megatron_fugaku.comm.rank_info import rank_info

#: What torch starts every process with.
_FIRST_SEED = 67280421310721
_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
#: Whether this rank was one of those that the test asked for, each time that it asked.
_took_part: list[bool] = []


def _from_rank_0(thing: Any) -> Any:
    """Return what rank 0 has, as its child processes would get it."""
    path = folder() / "from_rank_0"
    if rank() == 0:
        path.write_bytes(pickle.dumps(thing))
    agree(0)
    given = pickle.loads(path.read_bytes())
    agree(0)
    return given


def _leave_groups() -> None:
    if torch.distributed.is_initialized():
        import deepspeed.comm

        deepspeed.comm.destroy_process_group()


def _begin_afresh() -> None:
    """Have what a new process has: tests before this one, of fewer ranks perhaps, left other states on the ranks."""
    from deepspeed.runtime.zero import parameter_offload, partition_parameters

    _leave_groups()
    torch.manual_seed(_FIRST_SEED)
    partition_parameters.Init.param_id = 0
    [number_of_modules] = parameter_offload.DeepSpeedZeRoOffload._register_deepspeed_module.__defaults__
    number_of_modules[:] = [0]
    parameter_offload.FWD_MODULE_STACK.clear()
    replaced = partition_parameters.InsertPostInitMethodToModuleSubClasses
    if "linear_bk" in vars(replaced):
        torch.nn.functional.linear = replaced.linear_bk
        del replaced.linear_bk


def launch_on_ranks(self: Any, num_procs: int, init_method: str) -> None:
    """Stands for what starts processes in ``DistributedExec``: run the test on the first ranks of the job."""
    if num_procs > rank_info().world_size:
        pytest.skip(f"needs {num_procs} ranks, and the job has {rank_info().world_size}")
    port = sys.modules["unit.common"].get_master_port()
    self._fixture_kwargs, init_method, port = _from_rank_0((self._fixture_kwargs, init_method, port))
    _took_part.append(rank() < num_procs)
    if not _took_part[-1]:
        return
    before = dict(os.environ)
    _begin_afresh()
    try:
        message = self._dist_run(rank(), num_procs, port, init_method)
    finally:
        _leave_groups()
        os.environ.clear()
        os.environ.update(before)
    if message:
        pytest.skip(message)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Leave tests of a lone process to rank 0, and say where this rank had no part in a test."""
    _took_part.clear()
    if "unit.common" not in sys.modules or getattr(item.cls, "is_dist_test", False):
        result = yield
    elif rank() > 0:
        pytest.skip("another rank's test")
    else:
        with pytest.MonkeyPatch.context() as alone:
            for name, value in _ALONE.items():
                alone.setenv(name, value)
            result = yield
    if _took_part and not any(_took_part):
        pytest.skip("another rank's test")
    return result


def pytest_collection_finish() -> None:
    """Let the harness use the ranks."""
    if "unit.common" in sys.modules:
        # A test that has its own first method calls the second one.
        for name in ("_launch_procs", "_launch_daemonic_procs"):
            setattr(sys.modules["unit.common"].DistributedExec, name, launch_on_ranks)
