"""Default groups that are not all processes of the MPI job."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed as dist
from mpi_helpers import run_mpi

from megatron_fugaku.comm import registration
from megatron_fugaku.errors import CommError


@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["auto", "mpi"])
def test_some_of_the_processes_can_be_the_world(transport):
    done = run_mpi(Path(__file__).parent / "workers" / "smaller_groups.py", 4,
                   env={"MFUGAKU_COMM_TRANSPORT": transport})
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(done.stdout.split("\n")) == ["", *(f"rank {rank} is done" for rank in range(4))]


def test_members_find_each_other_in_a_store_and_leave_nothing_there():
    store = dist.HashStore()
    store.set("mpi_rank/0", "7")
    assert registration._exchange_through(store, 1, 2, 3) == [7, 3]
    assert registration._exchange_through(store, 0, 2, 7) == [7, 3]
    assert not store.check(["mpi_rank/0"]) and not store.check(["mpi_rank/1"]) and not store.check(["mpi_rank/readers"])


def test_two_processes_of_one_rank_are_refused():
    class Overwritten(dict):
        """A store in which another process of that rank was later."""

        def get(self, key):
            return "5"

        def set(self, key, value):
            self[key] = value

    with pytest.raises(CommError, match="processes 2 and 5 of the job both call themselves rank 1"):
        registration._exchange_through(Overwritten(), 1, 2, 2)
