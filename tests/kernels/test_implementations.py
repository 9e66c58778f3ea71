"""The choice between kernels and torch."""

from __future__ import annotations

import platform

import pytest

from megatron_fugaku.kernels import implementations
from megatron_fugaku.kernels.implementations import explain_implementation, prefers_kernel, set_implementations


@pytest.fixture(autouse=True)
def restored():
    implementations._where_torch_is_faster.cache_clear()
    yield
    implementations._where_torch_is_faster.cache_clear()
    set_implementations("auto")


@pytest.mark.parametrize(("features", "faster"), [
    ({"GenuineIntel", "avx2"}, {"float32"}), ({"AuthenticAMD", "avx2", "avx512f"}, set()),
    ({"GenuineIntel", "avx512f"}, {"float32"}), ({"AuthenticAMD", "avx512f", "avx512_bf16"}, {"bfloat16"}),
    ({"GenuineIntel", "avx512f", "avx512_bf16"}, {"float32"}),
    ({"GenuineIntel", "avx512f", "amx_bf16"}, {"float32", "bfloat16"}),
    ({"GenuineIntel", "avx512f", "avx512_bf16", "amx_bf16"}, {"float32", "bfloat16"})])
def test_products_are_left_to_torch_where_it_has_better_ones(monkeypatch, features, faster):
    monkeypatch.setattr(implementations, "read_cpu_features", lambda: frozenset(features))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert {dtype for dtype in ("float32", "bfloat16", "float16") if not prefers_kernel("matmul", dtype)} == faster


def test_auto_takes_the_kernel_but_where_torch_was_measured_to_be_faster(monkeypatch):
    rules = [implementations.TorchIsFaster("matmul", dtype, platform.machine(), lambda cpu, holds=holds: holds, "this")
             for dtype, holds in (("float32", True), ("bfloat16", False))]
    monkeypatch.setattr(implementations, "TORCH_IS_FASTER", (*rules, implementations.TorchIsFaster(
        "matmul", "float16", "another", lambda cpu: True, "another")))
    assert prefers_kernel("matmul", "float16")
    assert prefers_kernel("matmul", "bfloat16") and not prefers_kernel("matmul", "float32")
    assert explain_implementation("matmul", "bfloat16", "sve") == "kernel on sve (auto)"
    assert explain_implementation("matmul", "float32", "sve")== "reference (auto: torch is faster for float32 on this)"
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
