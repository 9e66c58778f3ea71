"""What stands on torch.distributed, over the MPI backend: DDP, FSDP2, DeviceMesh, DTensor, distributed checkpoints."""

from __future__ import annotations

import tempfile

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from collectives import assert_close, reduced
from contributions import fill
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel


def build_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 8)).double()


def batch_of(rank: int) -> torch.Tensor:
    return fill(rank, (4, 16), torch.float64)


def mean_gradients() -> list[torch.Tensor]:
    """Gradients of the mean loss over all ranks' batches, computed on this rank alone."""
    network = build_network()
    size = dist.get_world_size()
    (sum(network(batch_of(rank)).square().mean() for rank in range(size)) / size).backward()
    return [parameter.grad for parameter in network.parameters()]


def full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def check_gradients(network: torch.nn.Module) -> None:
    for parameter, expected in zip(network.parameters(), mean_gradients(), strict=True):
        torch.testing.assert_close(full(parameter.grad), expected, rtol=1e-12, atol=1e-14)


def data_parallel() -> None:
    network = DistributedDataParallel(build_network(), bucket_cap_mb=0.001)
    network(batch_of(dist.get_rank())).square().mean().backward()
    check_gradients(network)


def fully_sharded() -> None:
    network = build_network()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in network:
        if isinstance(layer, torch.nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
    network(batch_of(dist.get_rank())).square().mean().backward()
    check_gradients(network)


def redistribution() -> None:
    size = dist.get_world_size()
    shape = (2, size // 2) if size % 2 == 0 else (1, size)
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("dp", "tp"))
    tensor = torch.arange(7.0 * 5).view(7, 5)  # divides by no rank count
    for source in ((Shard(0), Shard(1)), (Shard(1), Replicate()), (Replicate(), Shard(0)), (Shard(0), Shard(0))):
        for target in ((Shard(1), Shard(0)), (Replicate(), Replicate()), (Shard(0), Replicate())):
            moved = distribute_tensor(tensor, mesh, source).redistribute(mesh, target)
            assert torch.equal(moved.full_tensor(), tensor), (source, target)
    assert mesh.get_group("tp").size() == shape[1]


def distributed_checkpoint() -> None:
    folder = [tempfile.mkdtemp() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(folder)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    weights = torch.arange(40.0).view(8, 5)
    checkpoint.save({"weights": distribute_tensor(weights, mesh, [Shard(0)]), "step": 3}, checkpoint_id=folder[0])
    state = {"weights": distribute_tensor(torch.zeros(8, 5), mesh, [Shard(1)]), "step": 0}
    checkpoint.load(state, checkpoint_id=folder[0])
    assert torch.equal(state["weights"].full_tensor(), weights) and state["step"] == 3


def sums_of_what_was_multiplied() -> None:
    """PREMUL_SUM, by which FSDP averages."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.complex64):
        for factor in (0.25, torch.tensor([0.25])):
            op = dist._make_nccl_premul_sum(factor)
            inputs = [fill(r, (dist.get_world_size(), 33), dtype) for r in range(dist.get_world_size())]
            total = reduced([tensor * 0.25 for tensor in inputs], dist.ReduceOp.SUM)
            tensor, given = inputs[dist.get_rank()].clone(), inputs[dist.get_rank()].clone()
            dist.all_reduce(tensor, op)
            assert_close(tensor, total, ("all_reduce", dtype, factor))
            output = torch.empty(33, dtype=dtype)
            dist.reduce_scatter_tensor(output, given.flatten(), op)
            assert_close(output, total[dist.get_rank()], ("reduce_scatter_tensor", dtype, factor))
            dist.reduce_scatter(output.zero_(), list(given), op)
            assert_close(output, total[dist.get_rank()], ("reduce_scatter", dtype, factor))
            assert torch.equal(given, inputs[dist.get_rank()])


def world_made_twice() -> None:
    dist.destroy_process_group()
    dist.init_process_group("mpi")
    tensor = torch.ones(1)
    dist.all_reduce(tensor)
    assert tensor.item() == dist.get_world_size()


checks_to_run = (data_parallel, fully_sharded, sums_of_what_was_multiplied, redistribution, distributed_checkpoint,
                 world_made_twice)
