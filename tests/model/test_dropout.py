"""Dropout by the extension points of megatron-core: what a layer and an attention call."""

from __future__ import annotations

import pytest
import torch
from megatron.core.fusions import fused_bias_dropout

from megatron_fugaku.model import dropout as ours

X, BIAS, RESIDUAL = torch.randn(6, 2, 40), torch.randn(40), torch.randn(6, 2, 40)


@pytest.mark.parametrize("bias", [BIAS, None])
@pytest.mark.parametrize(("training", "p"), [(False, 0.3), (True, 0.0)])
def test_without_dropping_it_is_megatrons(bias, training, p):
    add, expected = (build(training, False) for build in (ours.get_bias_dropout_add,
                                                         fused_bias_dropout.get_bias_dropout_add))
    torch.testing.assert_close(add((X, bias), RESIDUAL, p), expected((X.clone(), bias), RESIDUAL, p), rtol=0, atol=0)


@pytest.mark.parametrize("bias", [BIAS, None])
def test_with_dropping_each_element_is_kept_and_scaled_or_gone(bias):
    added = ours.get_bias_dropout_add(True, False)((X, bias), RESIDUAL, 0.25) - RESIDUAL
    value = X if bias is None else X + bias
    kept = torch.isclose(added, value / 0.75, rtol=1e-4, atol=1e-5)
    assert (kept | (added.abs() < 1e-6)).all()
    assert 0.65 < kept.float().mean() < 0.85


def test_the_generator_decides():
    """Recomputation restores its state and must find the same mask."""
    module = ours.Dropout(0.5)
    state = torch.get_rng_state()
    first, other = module(X), module(X)
    torch.set_rng_state(state)
    assert torch.equal(module(X), first) and not torch.equal(first, other)
    assert torch.equal(module.eval()(X), X)


def test_torch_does_it_where_the_operators_were_not_built(monkeypatch):
    monkeypatch.setattr(ours, "load_operators", lambda: None)
    module = torch.nn.Dropout(0.1)
    assert ours.choose_dropout(module) is module
    assert ours.get_bias_dropout_add(True, False).__module__ == fused_bias_dropout.__name__
