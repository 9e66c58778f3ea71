"""Saves a tensor twice by megatron-core's queue of asynchronous saves, and changes it behind each.

Usage: ``mfugaku run async_save.py FOLDER temporal|persistent``
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist


def main(folder: Path, worker: str) -> None:
    """Run."""
    dist.init_process_group("nccl")
    from megatron.core import parallel_state
    from megatron.core.dist_checkpointing import ShardedTensor, load, save
    from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue

    parallel_state.initialize_model_parallel(2, 1)
    tensor = torch.empty(256, 256)

    def state(data: torch.Tensor) -> dict:
        return {"weight": ShardedTensor.from_rank_offsets("weight", data, (0, dist.get_rank(), dist.get_world_size()))}

    queue = AsyncCallsQueue(persistent=worker == "persistent")
    for value in (1, 2):
        tensor.fill_(value)
        path = folder / str(value)
        path.mkdir(exist_ok=True)
        queue.schedule_async_request(save(state(tensor), str(path), async_sharded_save=True))
    tensor.fill_(3)
    queue.maybe_finalize_async_calls(blocking=True)
    loaded = [load(state(torch.empty_like(tensor)), str(folder / str(value)))["weight"] for value in (1, 2)]
    queue.close()
    assert [set(part.unique().tolist()) for part in loaded] == [{1.0}, {2.0}]
    print("saved 1 and 2", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
