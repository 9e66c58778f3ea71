"""How generation's model is called; ``tests/port`` generates text. No checkout is needed."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from megatron_fugaku.patches import megatron_deepspeed_generation as generation


def test_earlier_keys_and_values_go_in_and_out(monkeypatch):
    monkeypatch.setattr(generation, "_new_key_values", lambda tokens, mask: SimpleNamespace(sequence_len_offset=0))
    seen = []

    def model(tokens, positions, mask, inference_params=None):
        seen.append((mask, inference_params))
        return "logits", "logits"

    step = generation.build_forward_step(
        lambda model, tokens, past: model(tokens, "positions", mask, tokentype_ids=None, layer_past=past,
                                          get_key_value=True, forward_method_parallel_output=False))
    mask = torch.arange(36).view(1, 1, 6, 6)
    output, past = step(model, torch.zeros(1, 3), None)
    assert (output, past.sequence_len_offset) == ("logits", 3)
    output, again = step(model, torch.zeros(1, 1), past)
    assert (output, past.sequence_len_offset) == ("logits", 4) and again is past
    assert torch.equal(seen[0][0], mask[:, :, :3, :3]) and torch.equal(seen[1][0], mask[:, :, 3:4, :4])
    assert seen[0][1] is seen[1][1] is past


def test_without_them_the_whole_is_computed_anew():
    step = generation.build_forward_step(
        lambda model: model("tokens", "positions", "mask", tokentype_ids=None, layer_past=None, get_key_value=None,
                            forward_method_parallel_output=False))
    assert step(lambda *words: (words, "logits")) == ("tokens", "positions", "mask")
