"""The norm by which DeepSpeed clips gradients in float32, without ZeRO, in a pipeline."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


def build_clip_fp32_gradients(original: Callable) -> Callable:
    """Return ``DeepSpeedEngine.clip_fp32_gradients`` that counts every parameter of a pipeline once, as DeepSpeed's
    other optimizers do.

    Upstream's ``clip_grad_norm_`` (``deepspeed/runtime/utils.py``) counts tied weights in each stage that has a copy,
    and whatever is not split among tensor-parallel ranks in the first stage alone.
    """

    @functools.wraps(original)
    def clip_fp32_gradients(self: Any) -> None:
        from deepspeed.runtime.pipe.engine import PipelineEngine
        from deepspeed.runtime.utils import clip_tensors_by_global_norm, get_global_norm_of_tensors

        if not isinstance(self, PipelineEngine) or self.has_moe_layers:
            return original(self)
        parameters = [parameter for parameter in self.module.parameters() if parameter.grad is not None]
        is_first = self.mpu.get_tensor_model_parallel_rank() == 0
        counted = [parameter.grad for parameter in parameters if counts(parameter, is_first)]
        norm = get_global_norm_of_tensors(counted or [torch.zeros(1)], mpu=self.mpu)
        clip_tensors_by_global_norm([parameter.grad for parameter in parameters], self.gradient_clipping(), norm)
        return None

    return clip_fp32_gradients


def counts(parameter: torch.Tensor, is_first: bool) -> bool:
    """Say whether this rank's copy or part of a parameter is one that the norm of the whole model counts.

    Args:
        parameter: with the marks that DeepSpeed's pipeline and Megatron's layers put on it.
        is_first: whether the rank is the first of its tensor-parallel group.
    """
    if getattr(parameter, "ds_pipe_replicated", False):
        return False
    return is_first or getattr(parameter, "tensor_model_parallel", False) or getattr(parameter, "model_parallel", False)
