"""The comparison of our operators with torch's: that both compute the same, and what is reported."""

from __future__ import annotations

import pytest
import torch

from megatron_fugaku.bench.kernels_here import list_cases, measure, render_table
from megatron_fugaku.kernels.extension import load_operators
from megatron_fugaku.kernels.implementations import prefers_kernel, set_implementations


@pytest.fixture(autouse=True)
def built():
    if load_operators() is None:
        pytest.skip("the extension of the kernels was not built")


def test_both_sides_of_every_case_compute_the_same():
    set_implementations("kernel")
    try:
        for case in list_cases():
            if "dropout" in case.name:
                continue  # masks differ
            ours, torchs = case.ours(), case.torchs()
            pairs = zip(ours, torchs, strict=True) if isinstance(ours, tuple) else [(ours, torchs)]
            for a, b in pairs:
                wide = 1e-3 if a.dtype == torch.float32 else 0.05
                torch.testing.assert_close(a.float(), b.float(), rtol=wide, atol=wide * b.float().abs().max().item())
    finally:
        set_implementations("auto")


def test_a_record_has_times_ratio_and_target():
    records = measure(["bias + GELU"], num_rounds=1)
    assert [record.case for record in records] == ["bias + GELU float32",
                                                   "bias + GELU forward and backward float32"]
    assert records[0].target == 6 and records[1].target == 1 and records[0].value > 0 and records[0].peer_value > 0
    assert "bias + GELU float32" in render_table(records)
    assert prefers_kernel("bias_gelu", "float32")
