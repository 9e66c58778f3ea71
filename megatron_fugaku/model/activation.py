"""The activation of a gated linear unit by our operator, through the module that megatron-core's MLP takes for it."""

from __future__ import annotations

import torch
from megatron.core.transformer.module import MegatronModule

from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.kernels.swiglu import swiglu


class SwiGLU(MegatronModule):
    """SiLU of the first half of the last dimension times the second half: [..., 2 F] to [..., F]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated half."""
        return swiglu(x)


def has_own_activation(is_swiglu: bool) -> bool:
    """Return whether the MLP is to build the activation module of its spec, :class:`SwiGLU`.

    megatron-core calls that Transformer Engine's, and otherwise splits, activates and multiplies with torch.
    """
    return is_swiglu and load_operators() is not None
