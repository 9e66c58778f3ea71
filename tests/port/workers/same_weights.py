"""Runs an unmodified training script whose initial weights do not depend on how ranks share the model.

Megatron draws them with a seed per pipeline stage and tensor-parallel rank. Here they follow from the name of a
parameter and the number of its layer, so that the losses of two layouts can be compared. Nothing else changes.

Usage: ``mfugaku run same_weights.py SCRIPT ARGUMENTS...``
"""

from __future__ import annotations

import re
import runpy
import sys
import zlib
from pathlib import Path

import torch

script = Path(sys.argv[1]).resolve()
sys.argv[:] = sys.argv[1:]
sys.path.insert(0, str(script.parent))


def global_names(model: torch.nn.Module) -> dict[str, str]:
    """Names of parameters with the number of their layer in the whole model."""
    numbers = {name: module.layer_number - 1 for name, module in model.named_modules()
               if type(module).__name__.endswith(("TransformerLayer", "TransformerLayerPipe"))}
    names = {}
    for name, _ in model.named_parameters():
        layer = next((prefix for prefix in numbers if name.startswith(f"{prefix}.")), None)
        names[name] = f"layer {numbers[layer]} {name[len(layer) + 1:]}" if layer else \
            re.sub(r"^(module\.)?\d+\.", "", name)
        if "word_embeddings" in name or name == "output_layer.weight":
            names[name] = "word embeddings"  # tied: a copy of its own stands in the last stage
    return names


@torch.no_grad()
def initialize(model: torch.nn.Module, rank: int, size: int, is_gated: bool) -> None:
    """Fill the parameters: this rank's part of what the whole model has."""
    names = global_names(model)
    norms = {name for name, module in model.named_modules() if "Norm" in type(module).__name__}
    for name, parameter in model.named_parameters():
        is_split = getattr(parameter, "tensor_model_parallel", False)
        dim = parameter.partition_dim if is_split else 0
        shape = list(getattr(parameter, "ds_shape", parameter.shape))
        shape[dim] *= size if is_split else 1
        generator = torch.Generator().manual_seed(zlib.crc32(names[name].encode()))
        whole = torch.randn(shape, generator=generator) * 0.05
        if name.rpartition(".")[0] in norms and name.endswith("weight"):
            whole += 1
        part = whole
        if is_split:
            # Megatron-DeepSpeed: all queries, then all keys, then all values; all gates, then what they let through
            pieces = 3 if "query_key_value" in name else 2 if "dense_h_to_4h" in name and is_gated else 1
            part = torch.cat([piece.chunk(size, dim)[rank] for piece in whole.chunk(pieces, dim)], dim)
        if hasattr(parameter, "ds_id"):  # ZeRO 3 has spread it over the ranks
            import deepspeed

            with deepspeed.zero.GatheredParameters(parameter, modifier_rank=0):
                parameter.copy_(part)
        else:
            parameter.copy_(part)


def initializing(provider):
    """Return what builds the same model, and initializes it."""
    def provide(*words, **settings):
        from megatron.core import parallel_state

        model = provider(*words, **settings)
        initialize(model, parallel_state.get_tensor_model_parallel_rank(),
                   parallel_state.get_tensor_model_parallel_world_size(), "--swiglu" in sys.argv)
        return model

    return provide


def install(training) -> None:
    """Wrap what builds the script's model."""
    original = training.get_model
    training.get_model = lambda provider, *args, **kwargs: original(initializing(provider), *args, **kwargs)
    if (script.parent / "megatron" / "training" / "models" / "gpt.py").is_file():  # Megatron-LM 0.19 on
        from megatron.training.models.gpt import GPTModelBuilder

        GPTModelBuilder.build_model = initializing(GPTModelBuilder.build_model)


import megatron.training  # noqa: E402

install(getattr(megatron.training, "training", megatron.training))
runpy.run_path(str(script), run_name="__main__")
