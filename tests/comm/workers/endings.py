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

torch.set_num_threads(1)


def timeout() -> None:
    """Rank 0 waits for a rank that does not come, in every kind of operation."""
    dist.init_process_group("mpi", timeout=datetime.timedelta(seconds=1))
    group = dist.new_group([0, 1], timeout=datetime.timedelta(seconds=1), group_desc="pair")
    if dist.get_rank() == 0:
        calls = (
            lambda: dist.all_reduce(torch.ones(256), group=group),
            lambda: dist.recv(torch.ones(2), 1, group=group),
            lambda: dist.irecv(torch.ones(2), 1, tag=7).wait(datetime.timedelta(milliseconds=200)),
            lambda: dist.new_group([0, 1], timeout=datetime.timedelta(seconds=1)),
        )
        for call in calls:
            try:
                call()
            except dist.DistBackendError as error:
                print(f"raised: {error}", flush=True)
        comm.abort("seen enough", 7)
    time.sleep(60)


def uncaught_exception() -> None:
    dist.init_process_group("mpi")
    if dist.get_rank() == 1:
        raise KeyError("the tale of rank 1")
    dist.barrier()


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
