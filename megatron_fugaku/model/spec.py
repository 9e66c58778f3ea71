"""The layer of the model as a megatron-core spec, through its BackendSpecProvider."""

from __future__ import annotations

from megatron.core.models.backends import LocalSpecProvider
from megatron.core.transformer.attention import SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules

from megatron_fugaku.model.activation import SwiGLU, choose_mlp
from megatron_fugaku.model.attention import CoreAttention
from megatron_fugaku.model.dropout import get_bias_dropout_add
from megatron_fugaku.model.linear import ColumnLinear, RowLinear
from megatron_fugaku.model.norm import LayerNorm, RMSNorm
from megatron_fugaku.model.rotary import RotarySelfAttention


class CpuSpecProvider(LocalSpecProvider):
    """megatron-core's own modules, with norms that work under sequence parallelism without Apex, and our operators."""

    def layer_norm(self, rms_norm: bool = False, for_qk: bool = False) -> type:
        """Return the class of a norm."""
        return RMSNorm if rms_norm else LayerNorm

    def column_parallel_linear(self) -> type:
        """Return the class of a layer whose output is cut."""
        return ColumnLinear

    def row_parallel_linear(self) -> type:
        """Return the class of a layer whose input is cut."""
        return RowLinear

    def core_attention(self) -> type:
        """Return the class of the attention between the projections."""
        return CoreAttention

    def activation_func(self) -> type:
        """Return the class of the activation that an MLP builds where the configuration asks for it."""
        return SwiGLU


def build_block_spec(normalization: str, is_swiglu: bool, num_layers: int) -> TransformerBlockSubmodules:
    """Return the spec of a block of ``num_layers`` equal layers (those of one pipeline stage or chunk).

    Args:
        normalization: ``LayerNorm`` or ``RMSNorm``.
        is_swiglu: whether SiLU gates the MLP; else it has GELU.
        num_layers: layers that this rank builds.
    """
    backend = CpuSpecProvider()
    norm = backend.layer_norm(rms_norm=normalization == "RMSNorm")
    layer = ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=norm,
            self_attention=ModuleSpec(
                module=RotarySelfAttention,
                params={"attn_mask_type": AttnMaskType.causal},
                submodules=SelfAttentionSubmodules(
                    linear_qkv=backend.column_parallel_linear(),
                    core_attention=backend.core_attention(),
                    linear_proj=backend.row_parallel_linear(),
                    q_layernorm=IdentityOp,
                    k_layernorm=IdentityOp,
                ),
            ),
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=norm,
            mlp=ModuleSpec(module=MLP, submodules=choose_mlp(is_swiglu)),
            mlp_bda=get_bias_dropout_add,
            # The names under which megatron-core saves these norms with any of its backends.
            sharded_state_dict_keys_map={
                "input_layernorm.": "self_attention.linear_qkv.layer_norm_",
                "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
            },
        ),
    )
    return TransformerBlockSubmodules(layer_specs=[layer] * num_layers, layer_norm=norm)
