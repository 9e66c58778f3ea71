"""The gated unit that megatron-core's MLP builds."""

from __future__ import annotations

from pathlib import Path

import torch
from small_run import small_config

from megatron_fugaku.config import build_config
from megatron_fugaku.model import activation, transformer
from megatron_fugaku.model.spec import build_block_spec


def test_the_mlp_of_a_gated_model_builds_it_where_the_operators_are(monkeypatch):
    spec = build_block_spec("RMSNorm", 1).layer_specs[0].submodules.mlp.submodules
    assert spec.activation_func is activation.SwiGLU
    for is_swiglu in (True, False):
        config = build_config(small_config(Path("none"), Path("run"), model={"swiglu": is_swiglu}))
        for is_built in (True, False):
            monkeypatch.setattr(activation, "load_operators", lambda is_built=is_built: object() if is_built else None)
            options = transformer.build_transformer_config(config, 0)
            assert options.use_te_activation_func == (is_swiglu and is_built)


def test_it_is_silu_of_one_half_times_the_other():
    config = build_config(small_config(Path("none"), Path("run"), model={"swiglu": True}))
    module = activation.SwiGLU(transformer.build_transformer_config(config, 0))
    x = torch.randn(6, 2, 40)
    torch.testing.assert_close(module(x), torch.nn.functional.silu(x[..., :20]) * x[..., 20:], atol=2e-6, rtol=1e-6)
    assert not list(module.parameters())
