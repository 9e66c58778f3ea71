"""Which samples a rank reads at a step, and how they become a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def sample_indices(first: int, micro_batch_size: int, num_microbatches: int, data_parallel_rank: int,
                   data_parallel_size: int) -> list[list[int]]:
    """Return the samples of each micro-batch of one replica for one step.

    Megatron's order: micro-batch by micro-batch, ``micro_batch_size`` samples to each replica in turn. Which samples
    a step consumes depends on the global batch size alone, so that a run goes on exactly at another layout.

    Args:
        first: samples consumed before this step.
        micro_batch_size: samples of a micro-batch.
        num_microbatches: micro-batches of a replica in a step.
        data_parallel_rank: this replica.
        data_parallel_size: number of replicas.
    """
    stride = micro_batch_size * data_parallel_size
    starts = (first + index * stride + data_parallel_rank * micro_batch_size for index in range(num_microbatches))
    return [list(range(start, start + micro_batch_size)) for start in starts]


def iterate_batches(dataset: Sequence[dict[str, torch.Tensor]], indices: list[list[int]]
                    ) -> Iterator[dict[str, torch.Tensor]]:
    """Yield one batch per micro-batch: ``tokens``, ``labels``, ``position_ids`` int64 [B, S], ``loss_mask`` fp32
    [B, S], and ``attention_mask`` bool [B, 1, S, S] when the dataset makes one."""
    for samples in indices:
        items = [dataset[index] for index in samples]
        yield {key: torch.stack([torch.as_tensor(item[key]) for item in items]) for key in items[0]}
