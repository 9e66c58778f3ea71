"""The norm of gradients that takes the place of megatron-core's own."""

from __future__ import annotations

import pytest
import torch

from megatron_fugaku.kernels.grad_norm import operator
from megatron_fugaku.kernels.implementations import set_implementations
from megatron_fugaku.patches.megatron_optimizer import build_l2_norm


@pytest.fixture(autouse=True)
def built():
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    yield
    set_implementations("auto")


def refuse(*arguments):
    raise AssertionError("megatron-core's own was asked")


def make_gradients() -> list[torch.Tensor]:
    return [torch.randn(size) for size in (1, 70_000, 33)] + [torch.randn(40, 30).t()]


def test_it_is_the_norm_of_all_tensors_together():
    gradients = make_gradients()
    norm, per_tensor = build_l2_norm(refuse)(65536, torch.zeros(1), [gradients], False)
    exact = torch.cat([x.flatten() for x in gradients]).double().norm()
    assert per_tensor is None and norm.shape == (1,) and norm.dtype == torch.float32
    assert abs(float(norm) / float(exact) - 1) < 2e-7


def test_its_bits_do_not_depend_on_the_number_of_threads():
    gradients, before, norms = make_gradients(), torch.get_num_threads(), set()
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            norms.add(float(build_l2_norm(refuse)(65536, torch.zeros(1), [gradients], False)[0]))
    finally:
        torch.set_num_threads(before)
    assert len(norms) == 1


@pytest.mark.parametrize("case", ["reference", "float64", "per tensor"])
def test_what_the_operator_is_not_for_is_megatrons(case):
    gradients = make_gradients()
    if case == "reference":
        set_implementations({"grad_norm": "reference"})
    if case == "float64":
        gradients[0] = gradients[0].double()
    found = build_l2_norm(lambda *arguments: arguments)(65536, "flag", [gradients], case == "per tensor", "rest")
    assert found == (65536, "flag", [gradients], case == "per tensor", "rest")
