"""megatron-core's data parallelism, optimizer and schedule, from the run's configuration."""

from __future__ import annotations

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.optimizer import MegatronOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku.comm import arena
from megatron_fugaku.config import RunConfig


def wrap_data_parallel(config: RunConfig, transformer_config: TransformerConfig,
                       chunks: list[GPTModel]) -> list[DistributedDataParallel]:
    """Give the chunks contiguous gradient buffers that are reduced over the data-parallel group, in fp32."""
    parallel = config.parallel
    ddp_config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        overlap_grad_reduce=parallel.overlap_grad_reduce,
        overlap_param_gather=parallel.overlap_param_gather,
        use_distributed_optimizer=parallel.use_distributed_optimizer,
        bucket_size=parallel.ddp_bucket_size,
        check_for_nan_in_grad=False,
    )
    modules = [Float16Module(transformer_config, chunk) for chunk in chunks] if transformer_config.bf16 else chunks
    with arena.allocating():  # ranks of one node reduce and gather the buffers where they lie
        return [
            DistributedDataParallel(transformer_config, ddp_config, module, disable_bucketing=index > 0)
            for index, module in enumerate(modules)
        ]


def unwrap(chunk: torch.nn.Module) -> GPTModel:
    """Return the GPTModel inside the wrappers."""
    while not isinstance(chunk, GPTModel):
        chunk = chunk.module
    return chunk


def connect_schedule(config: RunConfig, transformer_config: TransformerConfig,
                     chunks: list[DistributedDataParallel]) -> None:
    """Tell megatron-core's pipeline schedules when to reduce gradients and gather parameters."""
    transformer_config.finalize_model_grads_func = finalize_model_grads
    if config.parallel.overlap_grad_reduce:
        no_sync = [chunk.no_sync for chunk in chunks]
        transformer_config.no_sync_func = no_sync if len(chunks) > 1 else no_sync[0]
        if len(chunks) > 1:
            transformer_config.grad_sync_func = [chunk.start_grad_sync for chunk in chunks]
            if config.parallel.overlap_param_gather:
                transformer_config.param_sync_func = [chunk.start_param_sync for chunk in chunks]


def build_optimizer(config: RunConfig, transformer_config: TransformerConfig,
                    chunks: list[DistributedDataParallel]) -> MegatronOptimizer:
    """Build AdamW over the chunks: weight decay spares biases and norms, as Megatron's default does."""
    options = config.optimizer
    return get_megatron_optimizer(
        OptimizerConfig(
            optimizer="adam",
            lr=options.lr,
            min_lr=options.min_lr,
            weight_decay=options.weight_decay,
            adam_beta1=options.adam_beta1,
            adam_beta2=options.adam_beta2,
            adam_eps=options.adam_eps,
            clip_grad=options.clip_grad,
            bf16=transformer_config.bf16,
            params_dtype=transformer_config.params_dtype,
            use_distributed_optimizer=config.parallel.use_distributed_optimizer,
            overlap_param_gather=config.parallel.overlap_param_gather,
        ),
        chunks,
        use_gloo_process_groups=False,
    )


def build_scheduler(config: RunConfig, optimizer: MegatronOptimizer) -> OptimizerParamScheduler:
    """Build the learning-rate schedule; its unit of progress is the token."""
    options = config.optimizer
    total_tokens = config.num_steps * config.tokens_per_step
    return OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=options.lr,
        min_lr=options.min_lr,
        lr_warmup_steps=options.lr_warmup_tokens,
        lr_decay_steps=options.lr_decay_tokens or total_tokens,
        lr_decay_style=options.lr_decay_style,
        start_wd=options.weight_decay,
        end_wd=options.weight_decay,
        wd_incr_steps=total_tokens,
        wd_incr_style="constant",
        use_checkpoint_opt_param_scheduler=False,
        override_opt_param_scheduler=True,
    )
