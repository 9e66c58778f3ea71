"""Initial weights that depend on the seed and on a parameter's name, not on how the model is cut.

Megatron seeds each pipeline stage on its own, so that another layout starts from other weights. Here every
parameter has a random stream of its own; each rank draws the whole parameter and keeps its part, and runs with any
TP, PP or DP start from the same model.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator

import torch
from megatron.core import parallel_state
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_layer import TransformerLayer

from megatron_fugaku.config import ModelConfig

_SCALED = re.compile(r"\.(linear_proj|linear_fc2)\.weight$")


def global_names(chunk: MegatronModule) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield (name, parameter) with layers numbered through the whole model from 0, and one name for tied
    embeddings."""
    prefixes = {
        name + ".": f"decoder.layers.{module.layer_number - 1}."
        for name, module in chunk.named_modules() if isinstance(module, TransformerLayer)
    }
    for name, parameter in chunk.named_parameters():
        for local, globally in prefixes.items():
            if name.startswith(local):
                name = globally + name[len(local):]
                break
        if name == "output_layer.weight" and chunk.share_embeddings_and_output_weights:
            name = "embedding.word_embeddings.weight"
        yield name, parameter


def _generator(seed: int, name: str) -> torch.Generator:
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)


def _draw(name: str, shape: list[int], std: float, seed: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32).normal_(0.0, std, generator=_generator(seed, name))


@torch.no_grad()
def initialize_parameters(chunk: MegatronModule, model: ModelConfig, seed: int) -> None:
    """Fill the parameters of one model chunk.

    Normal(0, init_method_std) for embeddings and input matrices, divided by sqrt(2 num_layers) for the matrices
    that write to the residual stream (GPT-2's scheme, as Megatron has it); zero biases; norms at one.

    Args:
        chunk: a megatron-core model chunk; its partitioned parameters carry ``partition_dim`` and
            ``partition_stride``.
        model: for the standard deviation and number of layers.
        seed: of the run.
    """
    tp_rank = parallel_state.get_tensor_model_parallel_rank()
    tp_size = parallel_state.get_tensor_model_parallel_world_size()
    for name, parameter in global_names(chunk):
        if name.endswith("bias"):
            parameter.zero_()
        elif "layernorm" in name:
            parameter.fill_(1.0)
        else:
            std = model.init_method_std / (math.sqrt(2.0 * model.num_layers) if _SCALED.search(name) else 1.0)
            shape = list(parameter.shape)
            dim = parameter.partition_dim if getattr(parameter, "tensor_model_parallel", False) else None
            if dim is not None:
                shape[dim] *= tp_size
            whole = _draw(name, shape, std, seed)
            if dim is not None:
                # A stride of 2 (gate and up projection of a gated unit) means two matrices, each cut on its own.
                parts = whole.chunk(parameter.partition_stride, dim)
                whole = torch.cat([part.chunk(tp_size, dim)[tp_rank] for part in parts], dim)
            parameter.copy_(whole)
