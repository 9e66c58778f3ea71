"""Generation by Megatron-DeepSpeed's ``tools/generate_samples_gpt.py``, whose model has changed since."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


class _WithKeyValues:
    """The model as ``text_generation_utils`` calls it: keys and values of earlier tokens go in as ``layer_past`` and
    come out beside the logits. What goes in and out is what the model takes for them today, ``InferenceParams``."""

    def __init__(self, model: torch.nn.Module):
        self._model = model

    def set_input_tensor(self, tensor: torch.Tensor | None) -> None:
        """Hand what the stage before has sent to the model inside its wrappers."""
        from megatron import text_generation_utils as upstream

        wrappers = (upstream.torchDDP, upstream.LocalDDP, upstream.Float16Module)
        upstream.unwrap_model(self._model, wrappers).set_input_tensor(tensor)

    def __call__(self, tokens: torch.Tensor, position_ids: torch.Tensor, attention_mask: torch.Tensor, *,
                 layer_past: Any, get_key_value: bool | None, **unused: Any) -> Any:
        if not get_key_value:
            return self._model(tokens, position_ids, attention_mask)[0]
        past = layer_past if layer_past is not None else _new_key_values(tokens, attention_mask)
        end = past.sequence_len_offset + tokens.shape[1]
        mask = attention_mask[:, :, past.sequence_len_offset:end, :end]
        output = self._model(tokens, position_ids, mask, inference_params=past)[0]
        past.sequence_len_offset = end
        return output, past


def _new_key_values(tokens: torch.Tensor, attention_mask: torch.Tensor) -> Any:
    from megatron.text_generation.forward_step import InferenceParams

    return InferenceParams(tokens.shape[0], attention_mask.shape[-1])


def build_forward_step(original: Callable) -> Callable:
    """Return ``forward_step`` of generation that calls the model as it is. Upstream passes words that it no longer
    takes, expects keys and values from it, and takes for logits the pair that it returns."""

    @functools.wraps(original)
    def forward_step(model: Any, *args: Any, **kwargs: Any) -> Any:
        return original(_WithKeyValues(model), *args, **kwargs)

    return forward_step
