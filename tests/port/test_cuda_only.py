"""Errors for the lack of CUDA say what was wanted and by whom; others are nobody's business here."""

from __future__ import annotations

import pytest
import torch

from megatron_fugaku.port.cuda_only import explain_cuda_error


def error_of(function) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def test_a_name_of_torch_cuda_is_named_with_its_caller():
    what, why, fix, where = explain_cuda_error(error_of(lambda: torch.cuda.get_device_properties(0)))
    assert where == "torch.cuda.get_device_properties"
    assert "needs a GPU" in what
    assert __file__ in why and "get_device_properties" in why
    assert "script_table.py" in fix


@pytest.mark.parametrize("call", [lambda: torch.cuda.cudart(), lambda: torch.cuda.get_device_capability(),
                                  lambda: torch.zeros(2, device="cuda"), lambda: torch.ones(1).cuda()])
def test_other_ways_to_want_cuda(call):
    assert "needs a GPU" in explain_cuda_error(error_of(call))[0]


@pytest.mark.parametrize("call", [lambda: torch.ones(2) @ torch.ones(3), lambda: {}["x"], lambda: 1 / 0])
def test_other_errors_are_left_alone(call):
    assert explain_cuda_error(error_of(call)) is None
