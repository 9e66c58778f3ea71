"""RunConfig to megatron-core's TransformerConfig."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku.config import RunConfig
from megatron_fugaku.model.activation import activation_options

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def leave_unset(weight: torch.Tensor) -> None:
    """Initialise nothing: :func:`megatron_fugaku.model.initialize.initialize_parameters` fills the finished model.

    megatron-core marks the partitioned parameters while it initialises them, so the step cannot be left out.
    """


def recompute_options(config: RunConfig, pipeline_rank: int) -> dict[str, Any]:
    """Return the recomputation fields of TransformerConfig for one pipeline stage.

    Stages that ``recompute_pipeline_stages`` leaves out keep their activations: the first stages hold the most
    micro-batches in flight, the last ones have memory to spare.
    """
    recompute = config.recompute
    stages = recompute.recompute_pipeline_stages
    if recompute.recompute_granularity is None or (stages is not None and pipeline_rank not in stages):
        return {}
    if recompute.recompute_granularity == "selective":
        return {"recompute_granularity": "selective"}
    return {
        "recompute_granularity": "full",
        "recompute_method": recompute.recompute_method or "uniform",
        "recompute_num_layers": recompute.recompute_num_layers or 1,
    }


def build_transformer_config(config: RunConfig, pipeline_rank: int) -> TransformerConfig:
    """Return the megatron-core configuration of the model as one pipeline stage builds it.

    The fusions are switched off because megatron-core compiles them with ``torch.compile`` on first use, on every
    rank, for kernels that exist for GPUs.
    """
    model, parallel = config.model.resolved(), config.parallel
    dtype = DTYPES[config.train.precision]
    return TransformerConfig(
        num_layers=model.num_layers,
        hidden_size=model.hidden_size,
        ffn_hidden_size=model.ffn_hidden_size,
        num_attention_heads=model.num_attention_heads,
        num_query_groups=model.num_query_groups,
        kv_channels=model.kv_channels,
        attention_dropout=model.attention_dropout,
        hidden_dropout=model.hidden_dropout,
        layernorm_epsilon=model.layernorm_epsilon,
        normalization=model.normalization,
        add_bias_linear=model.add_bias_linear,
        add_qkv_bias=model.add_qkv_bias,
        gated_linear_unit=model.swiglu,
        activation_func=torch.nn.functional.silu if model.swiglu else torch.nn.functional.gelu,
        init_method=leave_unset,
        output_layer_init_method=leave_unset,
        embedding_init_method=leave_unset,
        use_cpu_initialization=True,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype is torch.bfloat16,
        tensor_model_parallel_size=parallel.tensor_model_parallel_size,
        pipeline_model_parallel_size=parallel.pipeline_model_parallel_size,
        virtual_pipeline_model_parallel_size=parallel.virtual_pipeline_model_parallel_size,
        sequence_parallel=parallel.sequence_parallel,
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        batch_p2p_comm=False,
        overlap_p2p_comm=(parallel.virtual_pipeline_model_parallel_size or 1) > 1,
        **activation_options(),
        **recompute_options(config, pipeline_rank),
    )
