"""A script that knows nothing of this package; each rank chooses RANK itself, in reverse, when told to."""

import os
import sys

if "reverse" in sys.argv:
    size = int(os.environ["OMPI_COMM_WORLD_SIZE"])
    os.environ.update(RANK=str(size - 1 - int(os.environ["OMPI_COMM_WORLD_RANK"])), WORLD_SIZE=str(size))

import torch
import torch.distributed as dist

first = "gloo" if "gloo" in sys.argv else "mpi"
if first == "gloo":
    size = int(os.environ["OMPI_COMM_WORLD_SIZE"])
    rank = size - 1 - int(os.environ["OMPI_COMM_WORLD_RANK"])
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[-1]}", rank=rank, world_size=size)
else:
    dist.init_process_group(backend="mpi")
rank, size = dist.get_rank(), dist.get_world_size()
if "reverse" in sys.argv:
    assert rank == int(os.environ["RANK"])
group = dist.new_group(list(range(size))[1:], backend="mpi") if size > 1 else dist.group.WORLD
members = list(range(size))[1:] if size > 1 else [0]
if rank in members:
    tensor = torch.full((4,), float(rank), dtype=torch.bfloat16)
    dist.all_reduce(tensor, group=group)
    assert tensor.tolist() == [float(sum(members))] * 4
    gathered = [torch.zeros(1) for _ in members]
    dist.all_gather(gathered, torch.tensor([float(rank)]), group=group)
    assert [t.item() for t in gathered] == [float(r) for r in members]
dist.barrier()
dist.destroy_process_group()
print(f"rank {rank} of {size} is done", flush=True)
