"""Groups whose ranks may not or cannot share memory work all the same; argv[1] says why they do not."""

from __future__ import annotations

import os
import resource
import sys

import torch
import torch.distributed as dist

import megatron_fugaku.comm as comm


def all_reduce_over(transport: str) -> None:
    group = dist.new_group(list(range(dist.get_world_size())))
    assert comm.transport_of(group) == transport
    tensor = torch.ones(100_000, dtype=torch.bfloat16)
    dist.all_reduce(tensor, group=group)
    assert (tensor == dist.get_world_size()).all()


def switched_off_on_one_rank() -> None:
    if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
        os.environ["MFUGAKU_COMM_TRANSPORT"] = "mpi"
    dist.init_process_group("mpi")
    all_reduce_over("MPI")


def refused_on_one_rank() -> None:
    """The limit of file sizes holds for anonymous files too, and cannot be met by writing less."""
    dist.init_process_group("mpi")
    all_reduce_over("shared memory")
    if dist.get_rank() == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    all_reduce_over("MPI")
    all_reduce_over("MPI")


globals()[sys.argv[1]]()
dist.destroy_process_group()
