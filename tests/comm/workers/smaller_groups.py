"""Default groups of fewer ranks than the job has processes, as programs make them that set RANK and WORLD_SIZE."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist

import megatron_fugaku.comm as comm
from megatron_fugaku.comm import registration
from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.errors import CommError


def _sum_of_ranks(group: dist.ProcessGroup | None = None) -> float:
    tensor = torch.tensor([float(comm.rank_info().rank)])
    dist.all_reduce(tensor, group=group)
    return tensor.item()


def _find_ports() -> list[int]:
    """A port of each process that was free there just now. Collective over the job."""
    return load_extension().all_gather_int(registration._free_port())


def check_first_ranks_make_groups_again_and_again() -> None:
    """Members come by one address, one after the other, and their torch ranks need not be in MPI's order."""
    mpi_rank, size = comm.rank_info().rank, comm.rank_info().world_size
    ports = _find_ports()
    for num_members in (size - 1, size - 1, 2, 1):
        if mpi_rank >= num_members:
            continue
        os.environ["MASTER_PORT"] = str(ports[num_members - 1])
        rank = num_members - 1 - mpi_rank
        dist.init_process_group("mpi", rank=rank, world_size=num_members)
        assert (dist.get_rank(), dist.get_world_size()) == (rank, num_members)
        assert _sum_of_ranks() == sum(range(num_members))
        pair = dist.new_group(sorted({0, num_members - 1}))
        if rank in (0, num_members - 1):
            assert _sum_of_ranks(pair) == num_members - 1
        dist.destroy_process_group()


def check_two_jobs_side_by_side() -> None:
    """Disjoint default groups at addresses of their own."""
    mpi_rank = comm.rank_info().rank
    os.environ["MASTER_PORT"] = str(_find_ports()[mpi_rank // 2 * 2])
    dist.init_process_group("mpi", rank=mpi_rank % 2, world_size=2)
    assert _sum_of_ranks() == (1 if mpi_rank < 2 else 5)
    dist.destroy_process_group()


def check_a_rank_beyond_the_world_is_refused() -> None:
    """Only that rank hears of it, and at once: it is no member for which others could wait."""
    mpi_rank, size = comm.rank_info().rank, comm.rank_info().world_size
    if mpi_rank < size - 1:
        return
    try:
        dist.init_process_group("mpi", world_size=size - 1, rank=mpi_rank)
    except CommError as error:
        assert f"rank {mpi_rank} asks for a process group of {size - 1} ranks" in str(error), error
    else:
        raise AssertionError("a rank that does not exist was accepted")


if __name__ == "__main__":
    registration.set_rendezvous()
    for check in (check_first_ranks_make_groups_again_and_again, check_two_jobs_side_by_side,
                  check_a_rank_beyond_the_world_is_refused):
        check()
        load_extension().all_gather_int(0)
    print(f"rank {comm.rank_info().rank} is done")
