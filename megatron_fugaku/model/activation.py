"""The activation of an MLP by our operators, through the modules that the spec of megatron-core's MLP names.

megatron-core adds the bias, splits, activates and multiplies with torch, each in a pass of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.transformer.mlp import MLPSubmodules
from megatron.core.transformer.module import MegatronModule

from megatron_fugaku.kernels.bias_gelu import bias_gelu
from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.kernels.swiglu import swiglu
from megatron_fugaku.model.linear import ColumnLinear
from megatron_fugaku.model.recompute import LayerOutputLinear


class SwiGLU(MegatronModule):
    """SiLU of the first half of the last dimension times the second half: [..., 2 F] to [..., F]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated half."""
        return swiglu(x)


class GeluLinear(ColumnLinear):
    """The first matrix of an MLP with GELU behind it: [S, B, H] to [S, B, F / tensor-parallel size].

    The MLP would add the bias before it activates, in a pass that this spares.
    """

    def forward(self, *args: Any, **options: Any) -> tuple[torch.Tensor, None]:
        """Return (activated output, no bias)."""
        output, bias = super().forward(*args, **options)
        return bias_gelu(output, bias, exact=True), None


class Activated(MegatronModule):
    """The activation of what is activated already."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x``."""
        return x


def has_own_activation() -> bool:
    """Return whether the MLP is to build the activation module of its spec.

    megatron-core calls that Transformer Engine's, and otherwise activates with torch.
    """
    return load_operators() is not None


def choose_mlp(is_swiglu: bool) -> MLPSubmodules:
    """Return the modules of an MLP, gated by SiLU or with GELU."""
    has_gelu = has_own_activation() and not is_swiglu
    return MLPSubmodules(linear_fc1=GeluLinear if has_gelu else ColumnLinear, linear_fc2=LayerOutputLinear,
                         activation_func=Activated if has_gelu else SwiGLU)
