"""Which parameters the gradient norm of a pipeline counts; ``tests/port`` clips by it on ranks."""

from __future__ import annotations

import pytest
import torch

from megatron_fugaku.patches.deepspeed_clipping import build_clip_fp32_gradients, counts


@pytest.mark.parametrize(("marks", "on_first", "on_others"), [
    ({}, True, False),
    ({"tensor_model_parallel": True}, True, True),
    ({"model_parallel": True}, True, True),
    ({"tensor_model_parallel": False, "ds_pipe_replicated": False}, True, False),
    ({"tensor_model_parallel": True, "ds_pipe_replicated": True}, False, False),
])
def test_every_parameter_counts_once(marks, on_first, on_others):
    parameter = torch.nn.Parameter(torch.zeros(2))
    for name, value in marks.items():
        setattr(parameter, name, value)
    assert (counts(parameter, True), counts(parameter, False)) == (on_first, on_others)


def test_an_engine_without_a_pipeline_is_left_to_deepspeed():
    seen = []
    build_clip_fp32_gradients(seen.append)("engine")
    assert seen == ["engine"]
