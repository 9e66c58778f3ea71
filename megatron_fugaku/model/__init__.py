"""GPT and Llama models of megatron-core, built for CPUs through its specs."""

from megatron_fugaku.model.build import build_model_chunks
from megatron_fugaku.model.transformer import build_transformer_config

__all__ = ["build_model_chunks", "build_transformer_config"]
