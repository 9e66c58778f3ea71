"""The activation of an MLP by our operators, through the modules that the spec of megatron-core's MLP names.

megatron-core adds the bias, splits, activates and multiplies with torch, each in a pass of its own.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from megatron.core.transformer.mlp import MLPSubmodules
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig

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


#: The name by which megatron-core from 0.15 on is told to build the activation module of a spec.
_BUILDS_MODULE = "use_te_activation_func"


def has_own_activation() -> bool:
    """Return whether the MLP is to build the activation module of its spec; otherwise it activates with torch."""
    return load_operators() is not None and any(field.name == _BUILDS_MODULE for field in fields(TransformerConfig))


def activation_options() -> dict[str, Any]:
    """Return the options of TransformerConfig that make it so."""
    return {_BUILDS_MODULE: True} if has_own_activation() else {}


def choose_mlp(is_swiglu: bool) -> MLPSubmodules:
    """Return the modules of an MLP, gated by SiLU or with GELU."""
    if not has_own_activation():
        return MLPSubmodules(linear_fc1=ColumnLinear, linear_fc2=LayerOutputLinear)
    return MLPSubmodules(linear_fc1=ColumnLinear if is_swiglu else GeluLinear, linear_fc2=LayerOutputLinear,
                         activation_func=SwiGLU if is_swiglu else Activated)
