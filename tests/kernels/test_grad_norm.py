"""sum_of_squares: its error against float64, strides, threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import values

from megatron_fugaku.kernels.grad_norm import operator, reference, sum_of_squares

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


@given(st.sampled_from(DTYPES), st.one_of(st.integers(0, 300), st.integers(16000, 50000)))
def test_it_is_within_its_bounds(dtype, count):
    x = values(count, dtype=dtype)
    found = sum_of_squares(x)
    assert found.dtype == torch.float64 and found.shape == ()
    assert abs(found - reference(x)) <= 3e-7 * reference(x)


def test_strides_and_threads_do_not_matter(op):
    x, before, results = values(400, 300).t(), torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            results.append(op(x))
    finally:
        torch.set_num_threads(before)
    assert set(map(float, results)) == {float(op(x.contiguous()))}


def test_what_is_not_finite_shows(op):
    x = values(50000)
    for odd in (torch.nan, torch.inf, 1e30):
        x[40000] = odd
        assert not op(x).isfinite()


def test_torch_finds_the_operator_in_order(op):
    for dtype in DTYPES:
        torch.library.opcheck(op, (values(20, 30, dtype=dtype).t(),))
    with pytest.raises(RuntimeError, match="float32"):
        op(values(3).double())
