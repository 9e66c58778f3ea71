"""Options that megatron-core gets, by stage, and the arithmetic of a step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import small_config

from megatron_fugaku.config import ModelConfig, build_config
from megatron_fugaku.model.flops import flops_per_token
from megatron_fugaku.model.transformer import build_transformer_config, recompute_options


def build(**sections):
    return build_config(small_config(Path("none"), Path("run"), **sections))


FULL = {"recompute_granularity": "full"}
UNIFORM = {**FULL, "recompute_method": "uniform", "recompute_num_layers": 1}


@pytest.mark.parametrize(("recompute", "by_stage"), [
    ({}, [{}] * 4),
    ({"recompute_granularity": "selective"}, [{"recompute_granularity": "selective"}] * 4),
    (FULL, [UNIFORM] * 4),
    ({**FULL, "recompute_pipeline_stages": [0, 2]}, [UNIFORM, {}, UNIFORM, {}]),
    ({**FULL, "recompute_pipeline_stages": []}, [{}] * 4),
    ({**FULL, "recompute_method": "block", "recompute_num_layers": 3},
     [{**FULL, "recompute_method": "block", "recompute_num_layers": 3}] * 4),
])
def test_recomputation_by_stage(recompute, by_stage):
    config = build(recompute=recompute)
    assert [recompute_options(config, stage) for stage in range(4)] == by_stage


def test_nothing_is_compiled_and_dtypes_agree():
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        options = build_transformer_config(build(train={"precision": precision}), 0)
        assert (options.params_dtype, options.pipeline_dtype, options.bf16) == (dtype, dtype, precision == "bf16")
        assert not any((options.bias_activation_fusion, options.bias_dropout_fusion, options.masked_softmax_fusion,
                        options.gradient_accumulation_fusion))


def test_styles_decide_what_is_not_given():
    gpt = ModelConfig(num_layers=2, hidden_size=96, num_attention_heads=4, seq_length=8).resolved()
    assert (gpt.ffn_hidden_size, gpt.num_query_groups, gpt.kv_channels, gpt.max_position_embeddings) == (384, 4, 24, 8)
    assert (gpt.normalization, gpt.position_embedding_type, gpt.swiglu, gpt.add_bias_linear,
            gpt.untie_embeddings_and_output_weights) == ("LayerNorm", "learned_absolute", False, True, False)
    llama = ModelConfig(style="llama", num_layers=2, hidden_size=96, num_attention_heads=4, seq_length=8).resolved()
    assert llama.ffn_hidden_size == 256
    assert (llama.normalization, llama.position_embedding_type, llama.swiglu, llama.add_bias_linear,
            llama.untie_embeddings_and_output_weights) == ("RMSNorm", "rope", True, False, True)
    explicit = ModelConfig(style="llama", num_layers=2, hidden_size=96, num_attention_heads=4, seq_length=8,
                           swiglu=False, add_bias_linear=True, ffn_hidden_size=100).resolved()
    assert (explicit.swiglu, explicit.add_bias_linear, explicit.ffn_hidden_size) == (False, True, 100)


def test_flops_of_a_token_by_hand():
    gpt = ModelConfig(num_layers=2, hidden_size=8, num_attention_heads=2, seq_length=16)
    # Multiply-adds of one layer: q, k, v and output 4 x 64; scores and values 2 x 8 x 16/2; feed-forward 2 x 8 x 32.
    layer = 4 * 64 + 128 + 512
    assert flops_per_token(gpt, 100) == 3 * 2 * (2 * layer + 8 * 100)
    llama = ModelConfig(style="llama", num_layers=1, hidden_size=8, num_attention_heads=4, num_query_groups=2,
                        seq_length=16, ffn_hidden_size=24)
    # q and output 2 x 64, k and v 2 x 8 x 4, scores as above, three matrices of 8 x 24.
    assert flops_per_token(llama, 100) == 3 * 2 * (128 + 64 + 128 + 576 + 800)


def test_flops_of_the_13b_run_are_six_per_parameter_and_attention():
    model = ModelConfig(num_layers=40, hidden_size=5184, num_attention_heads=36, seq_length=2048)
    matrices = 40 * 12 * 5184**2 + 5184 * 49_152
    attention = 40 * 6 * 5184 * 2048
    assert flops_per_token(model, 49_152) == pytest.approx(6 * matrices + attention)
