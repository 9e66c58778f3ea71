"""Products of bfloat16 as Arm's BF16 instructions have them: errors against float64, order, where they run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_inputs import values
from product_checks import assert_threads_and_strides_do_not_matter, draw_integers

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.kernels import extension
from megatron_fugaku.kernels.implementations import explain_implementation, set_implementations
from megatron_fugaku.kernels.matmul import bfloat16_operator, matmul, multiply_into, operator


@pytest.fixture(autouse=True)
def chosen():
    if bfloat16_operator() is None:
        pytest.skip("the extension of the kernels was not built")
    set_implementations({"matmul": "bf16_native"})
    yield
    set_implementations("auto")


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(0, 2), rows=st.integers(0, 20), columns=st.sampled_from((0, 1, 2, 11, 12, 13, 23, 24, 47, 49)),
       depth=st.sampled_from((0, 1, 2, 3, 4, 5, 31, 64, 257, 300)), accumulate=st.booleans(),
       turned=st.tuples(st.booleans(), st.booleans(), st.booleans()),
       dtype=st.sampled_from((torch.float32, torch.bfloat16)))
def test_small_integers_are_multiplied_exactly(batch, rows, columns, depth, accumulate, turned, dtype):
    """Sums of integers below 2^24 have one value however they are rounded: float64 must agree to the bit."""
    a, b, out = draw_integers(depth, batch, rows, columns, depth, turned)
    exact = a.double() @ b.double() + (out if accumulate else 0)
    result = out.to(dtype)
    bfloat16_operator()(a.bfloat16(), b.bfloat16(), result, 1.0, accumulate)
    assert torch.equal(result, exact.float().to(dtype))


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 48, 300), (65, 33, 257), (24, 49, 5184)])
def test_errors_are_those_of_float32_sums_rounded_to_odd(shape):
    rows, columns, depth = shape
    a, b = values(rows, depth, dtype=torch.bfloat16), values(depth, columns, dtype=torch.bfloat16, seed=1)
    exact, out = a.double() @ b.double(), torch.empty(1, rows, columns)
    bfloat16_operator()(a[None], b[None], out, 1.0, False)
    assert ((out[0].double() - exact).abs() <= 2**-23 * depth * (a.double().abs() @ b.double().abs())).all()


def test_threads_and_strides_do_not_matter():
    assert_threads_and_strides_do_not_matter(torch.bfloat16, 300)


def test_only_its_name_chooses_it_and_gradients_have_it_too():
    a, b = (values(*shape, dtype=torch.bfloat16, seed=seed).requires_grad_() for seed, shape in
            enumerate(((2, 9, 200), (2, 200, 17))))
    upstream = values(2, 9, 17, dtype=torch.bfloat16, seed=2)

    def as_float32(run, x, y):
        out = torch.empty(*x.shape[:-1], y.shape[-1])
        run(x.detach(), y.detach(), out, 1.0, False)
        return out

    native, wide = as_float32(bfloat16_operator(), a, b), as_float32(operator(), a, b)
    assert not torch.equal(native, wide)
    assert torch.equal(multiply_into(torch.empty(2, 9, 17), a, b), native)
    matmul(a, b).backward(upstream)
    assert torch.equal(a.grad, as_float32(bfloat16_operator(), upstream, b.transpose(1, 2)).bfloat16())
    set_implementations({"matmul": "kernel"})
    assert torch.equal(multiply_into(torch.empty(2, 9, 17), a, b), wide)


def test_a_cpu_without_such_instructions_is_refused(monkeypatch):
    assert explain_implementation("matmul", "bfloat16", "sve") == "bf16_native on sve (kernels.matmul)"
    assert "(auto" in explain_implementation("matmul", "float16", "sve")
    monkeypatch.setattr(extension, "has_bfloat16_products", lambda: False)
    with pytest.raises(EnvironmentError, match=r"this CPU has no BF16 instructions.*Leave auto"):
        extension.choose_implementations({"matmul": "bf16_native"})
    monkeypatch.setattr(extension, "has_bfloat16_products", lambda: True)
    extension.choose_implementations({"matmul": "bf16_native"})


def test_torch_finds_the_operator_in_order_and_other_types_are_refused():
    a, b = values(2, 5, 6, dtype=torch.bfloat16), values(2, 6, 7, dtype=torch.bfloat16)
    torch.library.opcheck(bfloat16_operator(), (a, b, torch.empty(2, 5, 7), 0.5, False))
    with pytest.raises(RuntimeError, match="must be bfloat16"):
        bfloat16_operator()(a.float(), b.float(), torch.empty(2, 5, 7), 1.0, False)
