"""Ways for a job to end: argv[1] names one."""

from __future__ import annotations

import datetime
import os
import signal
import sys
import time

import torch
import torch.distributed as dist

import megatron_fugaku.comm as comm
from megatron_fugaku import cli
from megatron_fugaku.commands import doctor
from megatron_fugaku.errors import TrainingError

torch.set_num_threads(1)


def run_as_verb(body) -> None:
    """Run the body as `mfugaku` runs a verb."""
    doctor.run = lambda args: body()
    sys.exit(cli.main(["doctor"]))


def timeout() -> None:
    """Rank 0 waits for a rank that does not come, in every kind of operation; the last error is not caught."""
    dist.init_process_group("mpi", timeout=datetime.timedelta(seconds=1))
    group = dist.new_group([0, 1], timeout=datetime.timedelta(seconds=1), group_desc="pair")
    if dist.get_rank() == 0:
        calls = (
            lambda: dist.all_reduce(torch.ones(256), group=group),
            lambda: dist.recv(torch.ones(2), 1, group=group),
            lambda: dist.irecv(torch.ones(2), 1, tag=7).wait(datetime.timedelta(milliseconds=200)),
            lambda: dist.all_reduce(torch.ones(8), group=group, async_op=True).get_future().wait(),
            lambda: dist.new_group([0, 1], timeout=datetime.timedelta(seconds=1)),
        )
        for call in calls:
            try:
                call()
            except dist.DistBackendError as error:
                print(f"raised: {error}", flush=True)
        run_as_verb(calls[0])
    time.sleep(60)


def aborted() -> None:
    dist.init_process_group("mpi")
    comm.abort("seen enough", 7)


def uncaught_exception() -> None:
    dist.init_process_group("mpi")
    if dist.get_rank() == 1:
        raise KeyError("the tale of rank 1")
    dist.barrier()


def error_of_a_verb() -> None:
    dist.init_process_group("mpi")

    def train() -> None:
        if dist.get_rank() == 1:
            raise TrainingError("the loss of step 7 is nan", fix="lower the learning rate", where="optimizer.lr")
        dist.barrier()

    run_as_verb(train)


def exit_status() -> None:
    dist.init_process_group("mpi")
    if dist.get_rank() == 1:
        sys.exit(3)
    dist.barrier()


def killed() -> None:
    dist.init_process_group("mpi")
    if dist.get_rank() == 1:
        print(time.monotonic(), flush=True)
        time.sleep(0.2)  # for mpirun to forward the line
        os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(torch.ones(4))


def clean_without_destroying() -> None:
    """Unwaited work, no destroy_process_group, and ranks that leave at different times."""
    dist.init_process_group("mpi")
    right, left = (dist.get_rank() + 1) % dist.get_world_size(), (dist.get_rank() - 1) % dist.get_world_size()
    dist.irecv(torch.empty(300_000), left)
    dist.isend(torch.ones(300_000), right)
    time.sleep(0.5 * dist.get_rank())
    print(f"rank {dist.get_rank()} leaves", flush=True)


globals()[sys.argv[1]]()
