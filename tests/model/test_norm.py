"""Norms as a layer has them: torch's numbers, sequence parallelism's mark, torch's own where nothing was built."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from megatron_fugaku.model import norm as ours

X = torch.randn(6, 2, 40)


@pytest.mark.parametrize(("own", "theirs"), [(ours.LayerNorm, torch.nn.LayerNorm), (ours.RMSNorm, torch.nn.RMSNorm)])
@pytest.mark.parametrize("is_built", [True, False])
def test_a_norm_is_torchs(own, theirs, is_built, monkeypatch):
    if not is_built:
        monkeypatch.setattr(ours, "load_operators", lambda: None)
    module = own(SimpleNamespace(params_dtype=torch.float32, sequence_parallel=True), 40, eps=1e-3)
    expected = theirs(40, eps=1e-3)
    assert all(parameter.sequence_parallel for parameter in module.parameters())
    for parameter, other in zip(module.parameters(), expected.parameters(), strict=True):
        with torch.no_grad():
            other.copy_(parameter.add_(torch.randn(40)))
    torch.testing.assert_close(module(X), expected(X), atol=2e-6, rtol=1e-6)
    if not is_built:
        assert torch.equal(module(X), expected(X))
    for found, exact in zip(torch.autograd.grad(module(X).square().sum(), list(module.parameters())),
                            torch.autograd.grad(expected(X).square().sum(), list(expected.parameters())), strict=True):
        torch.testing.assert_close(found, exact, atol=2e-5, rtol=1e-5)
