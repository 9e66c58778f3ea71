"""DeepSpeed's ZeRO over the MPI backend, against plain torch on all ranks' data."""

from __future__ import annotations

from collections.abc import Callable

import deepspeed
import torch
import torch.distributed as dist
from contributions import fill

from megatron_fugaku.comm import arena

NUM_STEPS, NUM_MICROBATCHES = 4, 2
ADAMW = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
# float32 sums of two ranks and a norm that DeepSpeed adds up in parts; bfloat16 keeps 8 bits of every activation.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-5}

# DeepSpeed would compile a shared-memory all-reduce for minutes here, which training never calls.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def build_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 8))


def loss_of(network, rank: int, step: int, microbatch: int, dtype: torch.dtype) -> torch.Tensor:
    batch = fill(rank, (4, 16), dtype, salt=10 * step + microbatch)
    return network(batch).float().square().mean()


def plain_losses() -> list[float]:
    """This rank's losses when one process trains in float32 on the batches of all."""
    network = build_network()
    optimizer = torch.optim.AdamW(network.parameters(), **ADAMW)
    losses = []
    for step in range(NUM_STEPS):
        for microbatch in range(NUM_MICROBATCHES):
            for rank in range(dist.get_world_size()):
                loss = loss_of(network, rank, step, microbatch, torch.float32)
                (loss / (NUM_MICROBATCHES * dist.get_world_size())).backward()
                if rank == dist.get_rank():
                    losses.append(loss.item())
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
        assert norm > 0.1, "clipping is to be part of the check"
        optimizer.step()
        optimizer.zero_grad()
    return losses


def zero_losses(stage: int, dtype: torch.dtype, look_at: Callable[[object], None] = lambda optimizer: None,
                ) -> list[float]:
    network = build_network()
    config = {
        "train_micro_batch_size_per_gpu": 4,
        "gradient_accumulation_steps": NUM_MICROBATCHES,
        "gradient_clipping": 0.1,
        "optimizer": {"type": "AdamW", "params": {**ADAMW, "torch_adam": True}},
        # By default, stage 3 would leave weights as small as these on every rank.
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
        "bf16": {"enabled": dtype == torch.bfloat16},
    }
    engine, *_ = deepspeed.initialize(model=network, config=config, model_parameters=network.parameters())
    look_at(engine.optimizer)
    losses = []
    for step in range(NUM_STEPS):
        for microbatch in range(NUM_MICROBATCHES):
            loss = loss_of(engine, dist.get_rank(), step, microbatch, dtype)
            engine.backward(loss)
            engine.step()
            losses.append(loss.item())
    engine.destroy()
    return losses


def check_stage(stage: int) -> None:
    expected = plain_losses()
    assert expected[-1] < expected[0] / 2, expected
    for dtype, tolerance in TOLERANCE.items():
        losses = zero_losses(stage, dtype)
        torch.testing.assert_close(torch.tensor(losses), torch.tensor(expected), rtol=tolerance, atol=0)


def started_by_deepspeed() -> None:
    dist.destroy_process_group()
    deepspeed.init_distributed(dist_backend="mpi", auto_mpi_discovery=False)
    assert dist.get_backend() == "mpi"
    assert deepspeed.comm.get_world_size() == dist.get_world_size() == 2
    tensor = torch.ones(3)
    deepspeed.comm.all_reduce(tensor)
    assert (tensor == 2).all()


def zero_stage_1() -> None:
    check_stage(1)


def zero_stage_2() -> None:
    check_stage(2)


def zero_stage_3() -> None:
    check_stage(3)


def its_buffers_lie_in_the_arena_where_everything_does() -> None:
    """The same losses, bit for bit."""
    held = []
    for stage in (1, 2):
        ordinary = zero_losses(stage, torch.bfloat16)
        arena.place_tensors(min_bytes=1)
        try:
            shared = zero_losses(stage, torch.bfloat16,
                                 lambda optimizer: held.extend(map(arena.holds, optimizer.bit16_groups_flat)))
        finally:
            arena.place_tensors(None)
        assert shared == ordinary, stage
    assert held == [True, True]


checks_to_run = (started_by_deepspeed, zero_stage_1, zero_stage_2, zero_stage_3,
                 its_buffers_lie_in_the_arena_where_everything_does)
