"""Self-attention with rotary positions by our operator: megatron-core's own, but for rounding."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from megatron.core.models.common.embeddings import rotary_pos_embedding
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.kernels.implementations import set_implementations
from megatron_fugaku.model import rotary
from megatron_fugaku.model.attention import CoreAttention
from megatron_fugaku.model.linear import ColumnLinear, RowLinear
from megatron_fugaku.model.rotary import RotarySelfAttention, find_tables


@pytest.fixture(autouse=True)
def built(monkeypatch, process_group):
    if load_operators() is None:
        pytest.skip("the extension of the kernels was not built")
    monkeypatch.setattr(rotary_pos_embedding.torch.cuda, "current_device", lambda: torch.device("cpu"))
    yield
    set_implementations("auto")


def make_angles(length: int, width: int, interleaved: bool, percent: float = 1.0) -> torch.Tensor:
    embedding = RotaryEmbedding(width, percent, rotary_interleaved=interleaved, use_cpu_initialization=True,
                                cp_group=torch.distributed.group.WORLD)
    return embedding(length, cp_group=torch.distributed.group.WORLD)


def build(kind: type, interleaved: bool = False) -> torch.nn.Module:
    config = TransformerConfig(num_layers=1, num_attention_heads=4, num_query_groups=2, hidden_size=32, kv_channels=24,
                               attention_dropout=0.0, masked_softmax_fusion=False, use_cpu_initialization=True,
                               rotary_interleaved=interleaved, perform_initialization=False)
    groups = SimpleNamespace(tp=torch.distributed.group.WORLD, cp=torch.distributed.group.WORLD)
    modules = SelfAttentionSubmodules(linear_qkv=ColumnLinear, core_attention=CoreAttention, linear_proj=RowLinear,
                                      q_layernorm=IdentityOp, k_layernorm=IdentityOp)
    module = kind(config, modules, layer_number=1, attn_mask_type=AttnMaskType.causal, pg_collection=groups)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def run(module: torch.nn.Module, angles: torch.Tensor) -> list[torch.Tensor]:
    x = torch.randn(10, 2, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    out, _ = module(x, None, rotary_pos_emb=angles)
    out.backward(torch.linspace(-1, 1, out.numel()).view_as(out))
    return [out, x.grad, *(parameter.grad for parameter in module.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("percent", [1.0, 0.5])
@pytest.mark.parametrize("interleaved", [False, True])
def test_it_is_megatrons(monkeypatch, interleaved, percent):
    seen, original = [], rotary.rope
    monkeypatch.setattr(rotary, "rope", lambda x, *rest: seen.append(x.shape) or original(x, *rest))
    angles = make_angles(10, 24, interleaved, percent)
    ours, megatrons = (run(build(kind, interleaved), angles) for kind in (RotarySelfAttention, SelfAttention))
    assert seen == [(10, 2, 4, 24), (10, 2, 2, 24)]
    assert len(ours) == len(megatrons) > 3
    for a, b in zip(ours, megatrons, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_chosen_against_or_without_positions_it_is_megatrons_to_the_bit(monkeypatch):
    monkeypatch.setattr(rotary, "rope", None)
    set_implementations({"rope": "reference"})
    for angles in (make_angles(10, 24, False), None):
        ours, megatrons = (run(build(kind), angles) for kind in (RotarySelfAttention, SelfAttention))
        assert all(torch.equal(a, b) for a, b in zip(ours, megatrons, strict=True))


def test_tables_are_made_once_for_the_memory_of_the_angles():
    angles = make_angles(10, 24, False)
    tables = find_tables(angles, False)
    assert find_tables(angles.detach(), False) is tables
    torch.testing.assert_close(tables[0], angles[:, 0, 0, :12].cos())
    torch.testing.assert_close(tables[1], angles[:, 0, 0, 12:].sin())
    interleaved = make_angles(10, 24, True)
    torch.testing.assert_close(find_tables(interleaved, True)[0], interleaved[:, 0, 0, 1::2].cos())
    for length in range(20):
        find_tables(make_angles(11 + length, 24, False), False)
    assert len(rotary._tables) <= rotary._MOST_TABLES
