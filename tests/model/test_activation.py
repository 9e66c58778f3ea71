"""The gated unit that megatron-core's MLP builds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import small_config

from megatron_fugaku.config import build_config
from megatron_fugaku.model import activation, transformer
from megatron_fugaku.model.linear import ColumnLinear
from megatron_fugaku.model.spec import build_block_spec


@pytest.mark.parametrize("is_built", [True, False])
def test_the_mlp_builds_its_activation_where_the_operators_are(monkeypatch, is_built):
    monkeypatch.setattr(activation, "load_operators", lambda: object() if is_built else None)
    for is_swiglu in (True, False):
        spec = build_block_spec("RMSNorm", is_swiglu, 1).layer_specs[0].submodules.mlp.submodules
        config = build_config(small_config(Path("none"), Path("run"), model={"swiglu": is_swiglu}))
        assert transformer.build_transformer_config(config, 0).use_te_activation_func == is_built
        if is_built:
            expected = (ColumnLinear, activation.SwiGLU) if is_swiglu else (activation.GeluLinear, activation.Activated)
            assert (spec.linear_fc1, spec.activation_func) == expected
        else:
            assert spec.linear_fc1 is ColumnLinear


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_first_matrix_has_gelu_and_its_bias_behind_it(has_bias, process_group):
    config = transformer.build_transformer_config(build_config(small_config(Path("none"), Path("run"))), 0)
    layer = activation.GeluLinear(6, 40, config=config, init_method=torch.nn.init.normal_, bias=has_bias,
                                  skip_bias_add=True, gather_output=False, tp_group=process_group)
    with torch.no_grad():
        layer.weight.normal_()
        if has_bias:
            layer.bias.normal_()
    x = torch.randn(5, 2, 6, requires_grad=True)
    out, bias = layer(x)
    expected = torch.nn.functional.gelu(torch.nn.functional.linear(x, layer.weight, layer.bias))
    assert bias is None
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-6)
    inputs = [x, *layer.parameters()]
    upstream = torch.randn(5, 2, 40)
    for ours, exact in zip(torch.autograd.grad(out, inputs, upstream), torch.autograd.grad(expected, inputs, upstream),
                           strict=True):
        torch.testing.assert_close(ours, exact, atol=2e-5, rtol=1e-5)


def test_it_is_silu_of_one_half_times_the_other():
    config = build_config(small_config(Path("none"), Path("run"), model={"swiglu": True}))
    module = activation.SwiGLU(transformer.build_transformer_config(config, 0))
    x = torch.randn(6, 2, 40)
    torch.testing.assert_close(module(x), torch.nn.functional.silu(x[..., :20]) * x[..., 20:], atol=2e-6, rtol=1e-6)
    assert not list(module.parameters())
