"""The model's attention: megatron-core's own, but for rounding and for the mask of dropout."""

from __future__ import annotations

import contextlib
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from megatron.core import parallel_state, tensor_parallel
from megatron.core.fusions import fused_softmax
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.kernels.implementations import set_implementations
from megatron_fugaku.model import attention as module
from megatron_fugaku.model.attention import CoreAttention
from megatron_fugaku.patches.megatron_mask import build_causal_mask


@dataclasses.dataclass
class Ranks:
    """A tensor-parallel group as far as an attention asks."""

    num_ranks: int = 1
    which: int = 0

    def size(self) -> int:
        return self.num_ranks

    def rank(self) -> int:
        return self.which


@dataclasses.dataclass
class Groups:
    tp: Ranks


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """What a run's patches and parallel state are to megatron-core's attention."""
    if load_operators() is None:
        pytest.skip("the extension of the kernels was not built")
    tracker = SimpleNamespace(fork=contextlib.nullcontext)
    buffer = SimpleNamespace(get_tensor=lambda shape, dtype, name: torch.empty(shape, dtype=dtype))
    monkeypatch.setattr(tensor_parallel, "get_cuda_rng_tracker", lambda: tracker)
    monkeypatch.setattr(parallel_state, "get_global_memory_buffer", lambda: buffer)
    monkeypatch.setattr(fused_softmax, "get_default_causal_mask", build_causal_mask(None))
    yield
    set_implementations("auto")


def build(kind: type, ranks: Ranks | None = None, mask: AttnMaskType = AttnMaskType.causal,
          **fields) -> torch.nn.Module:
    fields = {"num_attention_heads": 4, "num_query_groups": 2, "hidden_size": 32, "attention_dropout": 0.0, **fields}
    config = TransformerConfig(num_layers=1, masked_softmax_fusion=False, **fields)
    return kind(config, 1, mask, "self", pg_collection=Groups(ranks or Ranks()))


def inputs(length: int = 20, heads: int = 4, groups: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, 3, number, 8, generator=generator) for number in (heads, groups, groups)]


def calls(monkeypatch) -> list:
    """Return the list that grows with each call of the operator."""
    seen = []
    original = module.attention
    monkeypatch.setattr(module, "attention", lambda *a, **k: seen.append(k) or original(*a, **k))
    return seen


def test_without_dropout_it_is_megatrons(monkeypatch):
    seen = calls(monkeypatch)
    results = []
    for kind in (CoreAttention, DotProductAttention):
        leaves = [x.requires_grad_() for x in inputs()]
        out = build(kind)(*leaves, None)
        out.backward(torch.linspace(-1, 1, out.numel()).view_as(out))
        results.append([out, *(leaf.grad for leaf in leaves)])
    assert len(seen) == 1
    for ours, megatrons in zip(*results, strict=True):
        torch.testing.assert_close(ours, megatrons, rtol=1e-5, atol=2e-6)


def test_dropout_is_the_same_on_any_number_of_ranks():
    whole_inputs = inputs(groups=4)
    torch.manual_seed(3)
    whole = build(CoreAttention, attention_dropout=0.3, num_query_groups=4)(*whole_inputs, None)
    parts = []
    for rank in range(2):
        torch.manual_seed(3)
        part = build(CoreAttention, Ranks(2, rank), attention_dropout=0.3, num_query_groups=4)
        parts.append(part(*(x[:, :, 2 * rank:2 * rank + 2] for x in whole_inputs), None))
    assert torch.equal(torch.cat(parts, -1), whole)
    plain = build(CoreAttention, num_query_groups=4)(*whole_inputs, None)
    assert not torch.allclose(whole, plain)
    evaluated = build(CoreAttention, attention_dropout=0.3, num_query_groups=4).eval()
    assert torch.equal(evaluated(*whole_inputs, None), plain)


@pytest.mark.parametrize("case", ["mask", "not causal", "reference"])
def test_what_the_operator_does_not_do_is_megatrons(monkeypatch, case):
    seen = calls(monkeypatch)
    attention_mask = torch.zeros(3, 1, 20, 20, dtype=torch.bool).bernoulli_(0.3) if case == "mask" else None
    set_implementations({"softmax": "reference"} | ({"attention": "reference"} if case == "reference" else {}))
    kind = AttnMaskType.no_mask if case == "not causal" else AttnMaskType.causal
    ours, megatrons = (build(which, mask=kind)(*inputs(), attention_mask)
                       for which in (CoreAttention, DotProductAttention))
    assert seen == []
    assert torch.equal(ours, megatrons)
