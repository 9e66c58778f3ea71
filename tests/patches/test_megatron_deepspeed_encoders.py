"""What the patches of BERT and T5 give on; ``tests/port`` trains with them. No checkout is needed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from megatron_fugaku.patches.megatron_deepspeed_encoders import (
    build_bert_forward,
    build_layer_norm_init,
    build_t5_forward,
    build_t5_head_init,
)


def test_a_stage_of_bert_sends_on_a_tensor_and_the_last_returns_all():
    forward = build_bert_forward(lambda self, tokens: (tokens, [], "more"))
    assert forward(SimpleNamespace(post_process=False), "hidden") == "hidden"
    assert forward(SimpleNamespace(post_process=True), "losses") == ("losses", [], "more")


def test_a_stage_of_the_decoder_alone_has_what_the_encoder_sent():
    language_model = SimpleNamespace(encoder=None, encoder_hidden_state="sent")
    model = SimpleNamespace(language_model=language_model)

    def upstream(self, tokens):
        encoder_output, *encoder_losses = self.language_model.encoder(tokens, "mask", inference_params=None)
        return f"{tokens} with {encoder_output}", encoder_losses

    assert build_t5_forward(upstream)(model, "tokens") == "tokens with sent"
    assert language_model.encoder is None

    def fails(self):
        raise RuntimeError("in upstream")

    with pytest.raises(RuntimeError, match="in upstream"):
        build_t5_forward(fails)(model)
    assert language_model.encoder is None


def test_a_stage_with_an_encoder_keeps_it():
    language_model = SimpleNamespace(encoder="an encoder")
    forward = build_t5_forward(lambda self: self.language_model.encoder)
    assert forward(SimpleNamespace(language_model=language_model)) == "an encoder"


def test_the_bias_of_t5_s_head_is_known_to_be_split():
    def upstream(self, size):
        self.bias = torch.nn.Parameter(torch.zeros(size))

    head = SimpleNamespace()
    build_t5_head_init(upstream)(head, 3)
    assert head.bias.shape == (3,) and head.bias.tensor_model_parallel


def test_the_norm_takes_words_of_the_one_on_gpus():
    class Norm(torch.nn.LayerNorm):
        __init__ = build_layer_norm_init(torch.nn.LayerNorm.__init__)

    norm = Norm(4, eps=1e-3, no_persist_layer_norm=True, apply_layernorm_1p=False, mem_efficient_ln=True)
    assert (norm.normalized_shape, norm.eps) == ((4,), 1e-3)
