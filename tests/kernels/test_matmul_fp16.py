"""Products of float16 added up in float16: the bits of the order of sums, errors against float64, where they run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_inputs import values
from product_checks import assert_threads_and_strides_do_not_matter
from torch.testing import assert_close

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.kernels import extension
from megatron_fugaku.kernels.implementations import explain_implementation, set_implementations
from megatron_fugaku.kernels.matmul import float16_operator, matmul, multiply, multiply_into, operator

CHAIN, BLOCK = 32, 128


@pytest.fixture(autouse=True)
def chosen():
    if float16_operator() is None:
        pytest.skip("the extension of the kernels was not built")
    set_implementations({"matmul": "fp16_native"})
    yield
    set_implementations("auto")


def rounded(x: np.ndarray) -> np.ndarray:
    """float64 to the nearest float16, as float64."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(np.float64)


def add_up(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
    """The sums of gemm_fp16.h: [..., M, K] and [..., K, N] to float32. float64 holds a product and one sum exactly."""
    a, b = (x.double().numpy() for x in (a, b))
    total = None if start is None else start.float().numpy()
    for begin in range(0, a.shape[-1], BLOCK):
        end, chains = min(begin + BLOCK, a.shape[-1]), []
        for first in range(begin, end, CHAIN):
            chain = None
            for k in range(first, min(first + CHAIN, end)):
                product = a[..., :, k, None] * b[..., None, k, :]
                chain = rounded(product if chain is None else product + chain)
            chains.append(chain)
        while len(chains) > 1:
            chains = [rounded(chains[i] + chains[i + 1]) if i + 1 < len(chains) else chains[i]
                      for i in range(0, len(chains), 2)]
        block = chains[0].astype(np.float32)
        total = block if total is None else total + block
    return torch.from_numpy(total if total is not None else np.zeros((*a.shape[:-1], b.shape[-1]), np.float32))


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(0, 2), rows=st.integers(0, 20), columns=st.sampled_from((0, 1, 2, 23, 24, 25, 47, 95, 96, 97)),
       depth=st.sampled_from((0, 1, 2, 31, 32, 33, 64, 96, 100, 128, 129, 257)), accumulate=st.booleans(),
       turned=st.tuples(st.booleans(), st.booleans(), st.booleans()), wide=st.booleans(),
       scale=st.sampled_from((1.0, 1e-4, 30.0)))
def test_the_sum_is_its_definition_to_the_bit(batch, rows, columns, depth, accumulate, turned, wide, scale):
    """As portable code and every instruction set have it; scales from subnormal products to infinite sums."""
    shapes = (batch, rows, depth), (batch, depth, columns), (batch, rows, columns)
    a, b, out = (scale * values(*(shape[i] for i in ((0, 2, 1) if turn else (0, 1, 2))), seed=seed)
                 for seed, (shape, turn) in enumerate(zip(shapes, turned, strict=True)))
    a, b = a.half(), b.half()
    out = out.float() if wide else out.half()
    a, b, out = (x.transpose(1, 2) if turn else x for x, turn in zip((a, b, out), turned, strict=True))
    with np.errstate(invalid="ignore"):
        expected = add_up(a, b, out if accumulate else None).to(out.dtype)
    float16_operator()(a, b, out, 1.0, accumulate)
    assert_close(out, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("depth", [144, 864, 5184])
def test_errors_are_a_thousandth_of_the_result_at_any_depth(depth):
    """Root mean squares, of what is stored in float32; each error also within its proven bound."""
    a, b = values(24, depth, dtype=torch.float16), values(depth, 50, dtype=torch.float16, seed=1)
    exact = a.double() @ b.double()
    error = multiply_into(torch.empty(24, 50), a, b).double() - exact
    assert error.square().mean().sqrt() <= 0.001 * exact.square().mean().sqrt()
    assert (error.abs() <= 1.02 * 35 * 2**-11 * (a.double().abs() @ b.double().abs())).all()
    stored = multiply(a, b).double() - exact
    assert stored.square().mean().sqrt() <= 0.00105 * exact.square().mean().sqrt()


def test_threads_and_strides_do_not_matter():
    assert_threads_and_strides_do_not_matter(torch.float16, 300)


def test_gradients_and_other_types_keep_float32_sums():
    a, b = (values(*shape, dtype=torch.float16, seed=seed).requires_grad_() for seed, shape in
            enumerate(((2, 9, 200), (2, 200, 17))))
    upstream = values(2, 9, 17, dtype=torch.float16, seed=2)
    native = matmul(a, b)
    native.backward(upstream)
    set_implementations({"matmul": "kernel"})
    assert not torch.equal(native, matmul(a, b))
    assert torch.equal(a.grad, multiply(upstream, b.detach().transpose(1, 2)))
    assert torch.equal(b.grad, multiply(a.detach().transpose(1, 2), upstream))
    x, y = values(9, 200, dtype=torch.bfloat16), values(200, 17, dtype=torch.bfloat16, seed=1)
    wide = multiply(x, y)
    set_implementations({"matmul": "fp16_native"})
    assert torch.equal(multiply(x, y), wide)


def test_auto_and_kernel_never_take_it():
    a, b = values(9, 200, dtype=torch.float16), values(200, 17, dtype=torch.float16, seed=1)
    native = multiply(a, b)
    wide = torch.empty_like(native)
    operator()(a[None], b[None], wide[None], 1.0, False)
    assert not torch.equal(native, wide)
    for chosen in ("auto", "kernel"):
        set_implementations({"matmul": chosen})
        assert torch.equal(multiply(a, b), wide)


def test_it_is_chosen_by_name_for_products_alone(monkeypatch):
    assert explain_implementation("matmul", "float16", "sve") == "fp16_native on sve (kernels.matmul)"
    assert "(auto" in explain_implementation("matmul", "bfloat16", "sve")
    with pytest.raises(ValueError, match=r"'fp16_native' is none of auto, kernel, reference$"):
        set_implementations({"attention": "fp16_native"})
    monkeypatch.setattr(extension, "has_float16_arithmetic", lambda: False)
    with pytest.raises(EnvironmentError, match=r"this CPU has no float16 arithmetic.*Leave auto"):
        extension.choose_implementations({"matmul": "fp16_native"})
    monkeypatch.setattr(extension, "has_float16_arithmetic", lambda: True)
    extension.choose_implementations({"matmul": "fp16_native"})


def test_torch_finds_the_operator_in_order():
    a, b = values(2, 5, 6, dtype=torch.float16), values(2, 6, 7, dtype=torch.float16)
    torch.library.opcheck(float16_operator(), (a, b, torch.empty(2, 5, 7), 0.5, False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_are_refused(dtype):
    with pytest.raises(RuntimeError, match="must be float16"):
        float16_operator()(values(2, 5, 6, dtype=dtype), values(2, 6, 7, dtype=dtype), torch.empty(2, 5, 7), 1.0, False)
