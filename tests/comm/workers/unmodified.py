"""A script that knows nothing of this package. Its ranks number themselves, in three worlds: against MPI's order with
gloo, against it with MPI, and in MPI's order with gloo again. argv[1] is a folder for gloo's rendezvous.
"""

import os
import sys

import torch
import torch.distributed as dist

mpi_rank, size = int(os.environ["OMPI_COMM_WORLD_RANK"]), int(os.environ["OMPI_COMM_WORLD_SIZE"])


def check_groups(expected_rank: int) -> None:
    rank = dist.get_rank()
    assert (rank, dist.get_world_size()) == (expected_rank, size)
    members = list(range(size))[1:]
    group = dist.new_group(members, backend="mpi")
    if rank in members:
        tensor = torch.full((4,), float(rank), dtype=torch.bfloat16)
        dist.all_reduce(tensor, group=group)
        assert tensor.tolist() == [float(sum(members))] * 4
        gathered = [torch.zeros(1) for _ in members]
        dist.all_gather(gathered, torch.tensor([float(rank)]), group=group)
        assert [t.item() for t in gathered] == [float(r) for r in members]
    dist.barrier()
    dist.destroy_process_group()


reverse = size - 1 - mpi_rank
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/first", rank=reverse, world_size=size)
check_groups(reverse)

os.environ.update(RANK=str(reverse), WORLD_SIZE=str(size))
dist.init_process_group(backend="mpi")
check_groups(reverse)

dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/second", rank=mpi_rank, world_size=size)
check_groups(mpi_rank)
print(f"rank {mpi_rank} of {size} is done", flush=True)
