"""Megatron-DeepSpeed on CPUs: what it imports needlessly, and what only its CUDA path gets right."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch

from megatron_fugaku.patches.stand_ins import absent_function


def build_knn_monitor(original: None) -> ModuleType:
    """Return ``megatron.model.vision.knn_monitor`` for machines without torchvision. The training loop, which imports
    it, calls it for vision models alone."""
    module = ModuleType("megatron.model.vision.knn_monitor")
    module.compute_feature_bank = absent_function("megatron.model.vision.knn_monitor.compute_feature_bank",
                                          "torchvision is not installed", "pip install torchvision")
    return module


def build_compression(original: None) -> ModuleType:
    """Return ``deepspeed.compression.compress`` for DeepSpeed from 0.19 on, which no longer has it. The training loop
    calls it where a DeepSpeed configuration has ``compression_training``."""
    module = ModuleType("deepspeed.compression.compress")
    for name in ("init_compression", "redundancy_clean"):
        setattr(module, name, absent_function(f"deepspeed.compression.compress.{name}",
                                      "the installed DeepSpeed has no compression",
                                      "take compression_training out of the DeepSpeed configuration"))
    return module


def build_core_attention_forward(original: Callable) -> Callable:
    """Return ``CoreAttention.forward`` on contiguous tensors: it takes views that slices of one q, k, v tensor, as they
    come from more than one sequence, do not have."""

    @functools.wraps(original)
    def forward(self: Any, query_layer: torch.Tensor, key_layer: torch.Tensor, value_layer: torch.Tensor,
                attention_mask: torch.Tensor) -> torch.Tensor:
        query_layer, key_layer, value_layer = (layer.contiguous() for layer in (query_layer, key_layer, value_layer))
        return original(self, query_layer, key_layer, value_layer, attention_mask)

    return forward


def build_experts_per_layer(original: Callable) -> Callable:
    """Return ``get_num_experts_per_layer`` that knows the layers of every pipeline stage. Upstream repeats a single
    number of experts for the layers of one stage, and then looks for those of later stages behind its end."""

    @functools.wraps(original)
    def get_num_experts_per_layer(num_experts: list[int], num_layers: int, expert_interval: int,
                                  offset: int = 0) -> list[int]:
        if len(num_experts) != 1:
            return original(num_experts, num_layers, expert_interval, offset)
        return [num_experts[0] if (offset + layer) % expert_interval == 0 else 1 for layer in range(1, num_layers + 1)]

    return get_num_experts_per_layer


class Rotation(tuple):
    """Cosine and sine of the angles, [S, 1, 1, D] each, of which a slice is that of both, and which moves as one."""

    def to(self, *args: Any, **kwargs: Any) -> Rotation:
        """Both, as ``torch.Tensor.to`` gives them."""
        return Rotation(part.to(*args, **kwargs) for part in self)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            return super().__getitem__(index)
        return Rotation(part[index] for part in self)


def build_rotary_forward(original: Callable) -> Callable:
    """Return ``RotaryEmbedding.forward`` whose result has ``.to``, which a model of pipeline stages calls."""

    @functools.wraps(original)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Rotation:
        return Rotation(original(self, *args, **kwargs))

    return forward


def build_attention_forward(original: Callable) -> Callable:
    """Return ``ParallelAttention.forward`` that gives cosine and sine both to queries and to keys. Upstream unpacks the
    pair of them as if it were one for each, so that keys would be turned by the sine alone."""

    @functools.wraps(original)
    def forward(self: Any, *args: Any, rotary_pos_emb: Any = None, **kwargs: Any) -> Any:
        # DeepSpeed's own sequence parallelism unpacks it as cosine and sine.
        if isinstance(rotary_pos_emb, tuple | list) and torch.is_tensor(rotary_pos_emb[0]) \
                and not self.enable_ds_sequence_parallel:
            rotary_pos_emb = (Rotation(rotary_pos_emb),) * 2
        return original(self, *args, rotary_pos_emb=rotary_pos_emb, **kwargs)

    return forward


def build_apply_rotary(original: Callable) -> Callable:
    """Return ``apply_rotary_pos_emb`` for a pair of cosine and sine; upstream takes them for angles."""

    def apply_rotary_pos_emb(t: torch.Tensor, freqs: Rotation) -> torch.Tensor:
        """Turn the first D of the last dimension of t, [S, ..., hn], halves being the components of a rotation (Su et
        al., arXiv:2104.09864, as GPT-NeoX lays them out)."""
        cos, sin = (part[:t.shape[0]].to(t.dtype) for part in (freqs[0], freqs[1]))
        turned, rest = t[..., :cos.shape[-1]], t[..., cos.shape[-1]:]
        first, second = turned.chunk(2, -1)
        turned = turned * cos + torch.cat((-second, first), -1) * sin
        return torch.cat((turned, rest), -1) if rest.shape[-1] else turned

    return apply_rotary_pos_emb


def build_clip_grad_norm(original: Callable) -> Callable:
    """Return ``clip_grad_norm_fp32`` in torch alone. Upstream's, where there is no CUDA, gives a list to
    ``torch.norm``, which takes none, and expects gradients of a type ``torch.cpu.FloatTensor``, which does not exist.
    """

    def clip_grad_norm_fp32(parameters: Any, grads_for_norm: Any, max_norm: float, norm_type: float = 2,
                            model_parallel_group: Any = None) -> float:
        """Scale the fp32 gradients of the parameters so that the norm of ``grads_for_norm``, over the ranks of the
        group, is at most ``max_norm``; return that norm before scaling."""
        grads = [parameter.grad for parameter in _as_list(parameters) if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(_as_list(grads_for_norm), norm_type).reshape(1).float()
        if math.isinf(norm_type):
            torch.distributed.all_reduce(norm, op=torch.distributed.ReduceOp.MAX, group=model_parallel_group)
            total = norm.item()
        else:
            power = norm ** norm_type
            torch.distributed.all_reduce(power, group=model_parallel_group)
            total = power.item() ** (1.0 / norm_type)
        scale = float(max_norm) / (total + 1.0e-6)
        if scale < 1.0:
            torch._foreach_mul_(grads, scale)
        return total

    return clip_grad_norm_fp32


def _as_list(tensors: Any) -> Sequence[torch.Tensor]:
    return [tensors] if torch.is_tensor(tensors) else list(tensors)
