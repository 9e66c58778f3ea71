"""cast: rounding, strides, threads, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import gradient, values

from megatron_fugaku.kernels.cast import cast, copy_as, operator
from megatron_fugaku.kernels.implementations import set_implementations

HALVES = [torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True, scope="module")
def by_kernel():
    """With the kernel, also where torch is faster."""
    set_implementations({"cast": "kernel"})
    yield
    set_implementations("auto")


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with torch need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


@given(st.sampled_from(HALVES), st.one_of(st.integers(0, 300), st.integers(16000, 40000)))
def test_it_is_torchs_conversion_there_and_back(dtype, count):
    x = values(count)
    x[::7] *= 1e-6  # subnormal in float16
    x[3::50] = torch.inf
    low = cast(x, dtype)
    assert low.dtype == dtype and torch.equal(low, x.to(dtype))
    assert torch.equal(cast(low, torch.float32), low.float())


def test_a_nan_stays_one(op):
    x = torch.tensor([1.0, torch.nan, -torch.nan])
    for dtype in HALVES:
        assert cast(x, dtype).isnan().tolist() == [False, True, True]
        assert cast(x.to(dtype), torch.float32).isnan().tolist() == [False, True, True]


def test_strides_and_threads_do_not_matter(op):
    x, before = values(300, 400).t(), torch.get_num_threads()
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            assert torch.equal(cast(x, torch.bfloat16), x.bfloat16())
    finally:
        torch.set_num_threads(before)
    assert cast(x, torch.float32) is x


def test_it_writes_where_it_is_told_and_other_dtypes_are_torchs(op):
    buffer, x = torch.zeros(100, dtype=torch.bfloat16), values(6, 5)
    assert copy_as(buffer[10:40], x).data_ptr() == buffer[10:].data_ptr()
    assert torch.equal(buffer[10:40], x.flatten().bfloat16())
    assert (buffer[:10] == 0).all() and (buffer[40:] == 0).all()
    for dtype in (torch.float64, torch.int32):
        out = torch.empty(30, dtype=dtype)
        assert torch.equal(copy_as(out, x), x.flatten().to(dtype))
    every_other = torch.zeros(60, dtype=torch.float16)[::2]
    assert torch.equal(copy_as(every_other, x), x.flatten().half())


def test_the_gradient_is_cast_back(op):
    x, upstream = values(40), values(40, seed=1, dtype=torch.bfloat16)
    assert torch.equal(gradient(lambda x: cast(x, torch.bfloat16), x, upstream), upstream.float())


def test_torch_finds_the_operator_in_order(op):
    torch.library.opcheck(op, (values(20, 4).t(), torch.empty(4, 20, dtype=torch.bfloat16)))
    torch.library.opcheck(op, (values(20, dtype=torch.float16), torch.empty(20)))


def test_what_does_not_fit_is_refused(op):
    x, low = values(4), torch.empty(4, dtype=torch.float16)
    with pytest.raises(ValueError, match="do not fit"):
        copy_as(low, values(5))
    for wrong in ((x, torch.empty(4)), (low, torch.empty(4, dtype=torch.bfloat16))):
        with pytest.raises(RuntimeError, match="one of x and out"):
            op(*wrong)
    with pytest.raises(RuntimeError, match="elements"):
        op(values(5), low)
