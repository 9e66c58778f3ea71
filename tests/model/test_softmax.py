"""Softmax in the place of megatron-core's: the same numbers, and upstream's own for what ours does not do."""

from __future__ import annotations

import pytest
import torch
from megatron.core.fusions.fused_softmax import FusedScaleMaskSoftmax
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.utils import attention_mask_func

from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.model import softmax as ours


def upstream(kind: AttnMaskType, bf16: bool = False, scale: float | None = None,
             window: tuple[int, int] | None = None) -> FusedScaleMaskSoftmax:
    return FusedScaleMaskSoftmax(False, bf16, kind, False, attention_mask_func, True, scale, window)


@pytest.fixture(autouse=True)
def _needs_operators():
    if load_operators() is None:
        pytest.skip("the extension of the kernels was not built")


@pytest.mark.parametrize(("kind", "queries"), [(AttnMaskType.causal, 9), (AttnMaskType.causal, 1),
                                               (AttnMaskType.no_mask, 5)])
@pytest.mark.parametrize("scale", [None, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_our_operator_does_is_megatrons(kind, queries, scale, dtype):
    module = upstream(kind, dtype == torch.bfloat16, scale)
    chosen = ours.choose_softmax(module)
    scores = torch.randn(2, 3, queries, 9, dtype=dtype)
    assert chosen.is_kernel_available(None, 2, 3, queries, 9)
    # Upstream makes its own mask on a GPU.
    mask = torch.ones(9, 9, dtype=torch.bool).triu(1) if kind == AttnMaskType.causal and queries > 1 else None
    torch.testing.assert_close(chosen(scores, None), module(scores.clone(), mask))


def test_what_our_operator_does_not_do_stays_megatrons(monkeypatch):
    scores, mask = torch.randn(2, 3, 9, 9), torch.rand(2, 1, 9, 9) < 0.3

    def refuse(*arguments):
        raise AssertionError("our operator was asked")

    for kind in (AttnMaskType.causal, AttnMaskType.padding):
        module = upstream(kind)
        chosen = ours.choose_softmax(module)
        monkeypatch.setattr(chosen, "forward_fused_softmax", refuse)
        assert torch.equal(chosen(scores.clone(), mask), module(scores.clone(), mask))
    with_window = ours.choose_softmax(upstream(AttnMaskType.causal, window=(4, 0)))
    assert not with_window.is_kernel_available(None, 2, 3, 9, 9)
    assert not ours.choose_softmax(upstream(AttnMaskType.causal)).is_kernel_available(None, 2, 3, 4, 9)


def test_torch_does_it_where_the_operators_were_not_built(monkeypatch):
    monkeypatch.setattr(ours, "load_operators", lambda: None)
    module = upstream(AttnMaskType.causal)
    assert ours.choose_softmax(module) is module
