"""The choice between kernels and torch."""

from __future__ import annotations

import platform

import pytest

from megatron_fugaku.kernels import implementations
from megatron_fugaku.kernels.implementations import explain_implementation, prefers_kernel, set_implementations


@pytest.fixture(autouse=True)
def restored():
    yield
    set_implementations("auto")


def test_auto_takes_the_kernel_but_where_torch_was_measured_to_be_faster(monkeypatch):
    monkeypatch.setattr(implementations, "TORCH_IS_FASTER", frozenset({("matmul", platform.machine(), "float32")}))
    assert prefers_kernel("matmul", "bfloat16") and not prefers_kernel("matmul", "float32")
    assert explain_implementation("matmul", "bfloat16", "sve") == "kernel on sve (auto)"
    assert explain_implementation("matmul", "float32", "sve").startswith("reference (auto: torch is faster")
    assert explain_implementation("matmul", "float32", None) == "reference (the kernels were not built)"


def test_a_choice_for_one_operator_leaves_the_others(monkeypatch):
    set_implementations({"attention": "reference", "matmul": "kernel"})
    assert not prefers_kernel("attention", "float32")
    assert prefers_kernel("matmul", "float32") and prefers_kernel("dropout", "float32")
    assert explain_implementation("attention", "float32", "sve") == "reference (kernels.attention)"
    set_implementations("reference")
    assert not any(prefers_kernel(operator, "float32") for operator in implementations.OPERATORS)


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match="no operator 'gem'"):
        set_implementations({"gem": "kernel"})
    with pytest.raises(ValueError, match="'mkl' is none of"):
        set_implementations({"matmul": "mkl"})
