"""One training step and one validation through megatron-core's pipeline schedules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer.optimizer import ChainedOptimizer
from megatron.core.pipeline_parallel import get_forward_backward_func

from megatron_fugaku.config import RunConfig
from megatron_fugaku.data.batches import iterate_batches, sample_indices
from megatron_fugaku.train.optimizer import unwrap


@dataclass
class DataReader:
    """Reads this rank's micro-batches and counts the seconds it takes."""

    config: RunConfig
    seconds: float = 0.0

    def batches(self, dataset: Any, first_sample: int) -> tuple[Iterator[dict[str, torch.Tensor]], int]:
        """Return the micro-batches of the step that starts at ``first_sample``, and their number."""
        replicas = parallel_state.get_data_parallel_world_size()
        micro_batch_size = self.config.train.micro_batch_size
        num_microbatches = self.config.train.global_batch_size // (micro_batch_size * replicas)
        indices = sample_indices(first_sample, micro_batch_size, num_microbatches,
                                 parallel_state.get_data_parallel_rank(), replicas)
        return iterate_batches(dataset, indices), num_microbatches

    def next(self, batches: Iterator[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return the next micro-batch."""
        start = time.perf_counter()
        batch = next(batches)
        self.seconds += time.perf_counter() - start
        return batch


def _mean_loss(loss_mask: torch.Tensor, losses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    mask = loss_mask.view(-1)
    loss = torch.sum(losses.float().view(-1) * mask) / mask.sum().clamp(min=1.0)
    # A copy: the schedule divides the loss in place by the number of micro-batches.
    return loss, {"lm_loss": loss.detach().clone()}


def build_forward_step(reader: DataReader) -> Callable:
    """Return megatron-core's ``forward_step_func``: reads a micro-batch where the stage needs one, runs the chunk.

    Stages between the first and the last get their input from their neighbour and read nothing.
    """

    def forward_step(batches: Iterator[dict[str, torch.Tensor]], chunk: torch.nn.Module):
        model = unwrap(chunk)
        batch = reader.next(batches) if model.pre_process or model.post_process else {}
        output = chunk(batch.get("tokens"), batch.get("position_ids"), batch.get("attention_mask"),
                       labels=batch.get("labels"))

        def loss_func(losses: torch.Tensor):
            return _mean_loss(batch["loss_mask"], losses)

        return output, loss_func

    return forward_step


def run_schedule(config: RunConfig, chunks: list[DistributedDataParallel], reader: DataReader, dataset: Any,
                 first_sample: int, forward_only: bool) -> float:
    """Run the micro-batches of one global batch; return this replica's mean loss on the last stage, else 0.

    The last stage's tensor-parallel ranks all return it.
    """
    per_chunk = [reader.batches(dataset, first_sample) for _ in chunks]
    iterators, num_microbatches = [batches for batches, _ in per_chunk], per_chunk[0][1]
    single = len(chunks) == 1
    losses = get_forward_backward_func()(
        forward_step_func=build_forward_step(reader),
        data_iterator=iterators[0] if single else iterators,
        model=chunks[0] if single else chunks,
        num_microbatches=num_microbatches,
        seq_length=config.model.seq_length,
        micro_batch_size=config.train.micro_batch_size,
        decoder_seq_length=config.model.seq_length,
        forward_only=forward_only,
    )
    if not parallel_state.is_pipeline_last_stage(ignore_virtual=True):
        return 0.0
    return float(torch.stack([entry["lm_loss"] for entry in losses]).double().mean())


@torch.no_grad()
def update_parameters(optimizer: ChainedOptimizer) -> tuple[float, bool]:
    """Clip and apply the reduced gradients unless their norm is not finite.

    The norm is summed over all ranks that share the model, so all of them take the same decision.

    Returns:
        (gradient norm before clipping, whether the parameters were updated).
    """
    found_inf = optimizer.prepare_grads()
    grad_norm = float(optimizer.get_grad_norm() or 0.0)
    if found_inf or not math.isfinite(grad_norm):
        return grad_norm, False
    for part in optimizer.chained_optimizers:
        if part.config.clip_grad > 0.0 and not getattr(part, "is_stub_optimizer", False):
            # As megatron-core's clip_grad_by_total_norm_fp32, whose pass over the gradients the optimizer's spares.
            part.optimizer.grad_scale = min(1.0, part.config.clip_grad / (grad_norm + 1e-6))
    return grad_norm, bool(optimizer.step_with_ready_grads())


def loss_share(loss: float) -> float:
    """Return this rank's part of a sum over all ranks that gives the loss averaged over the replicas."""
    counts = (parallel_state.is_pipeline_last_stage(ignore_virtual=True)
              and parallel_state.get_tensor_model_parallel_rank() == 0)
    return loss / parallel_state.get_data_parallel_world_size() if counts else 0.0
