"""Softmax of attention scores by our operator, in the place of megatron-core's fused one for GPUs."""

from __future__ import annotations

import torch
from megatron.core.fusions.fused_softmax import FusedScaleMaskSoftmax
from megatron.core.transformer.enums import AttnMaskType

from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.kernels.implementations import prefers_kernel
from megatron_fugaku.kernels.softmax import softmax


def window_of(module: FusedScaleMaskSoftmax) -> tuple[int, int] | None:
    """Return the window outside which a query sees nothing, None for none; megatron-core has it from 0.15 on."""
    return getattr(module, "window_size", None)


class ScaleMaskSoftmax(FusedScaleMaskSoftmax):
    """Scales scores [batch, heads, queries, keys], leaves out what a query must not see, and takes their softmax.

    What a mask or an offset of the caller's, or a window, takes part in stays megatron-core's own, by torch.
    """

    def is_kernel_available(self, mask: torch.Tensor | None, b: int, np: int, sq: int, sk: int) -> bool:
        """Return whether our operator is for these scores."""
        dtype = "float16" if self.input_in_fp16 else "bfloat16" if self.input_in_bf16 else "float32"
        return (mask is None and window_of(self) is None and (self.scale is None or self.scale > 0)
                and (self.attn_mask_type in (AttnMaskType.no_mask, AttnMaskType.padding)
                     or (self.attn_mask_type == AttnMaskType.causal and sq in (1, sk)))
                and prefers_kernel("softmax", dtype))

    def forward_fused_softmax(self, input: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the probabilities; only called where :meth:`is_kernel_available`."""
        return softmax(input, 1.0 if self.scale is None else float(self.scale),
                       causal=self.attn_mask_type == AttnMaskType.causal)


def choose_softmax(module: FusedScaleMaskSoftmax) -> FusedScaleMaskSoftmax:
    """Return the module that does on this machine what ``module`` does."""
    if load_operators() is None:
        return module
    window = {"window_size": module.window_size} if hasattr(module, "window_size") else {}
    return ScaleMaskSoftmax(module.input_in_fp16, module.input_in_bf16, module.attn_mask_type,
                            module.scaled_masked_softmax_fusion, module.mask_func, module.softmax_in_fp32, module.scale,
                            **window)
