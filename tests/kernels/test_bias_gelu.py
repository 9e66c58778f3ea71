"""bias_gelu: its error against float64, gradients, shapes."""

from __future__ import annotations

import pytest
import torch
from kernel_inputs import gradients
from kernel_inputs import wide_values as values

from megatron_fugaku.kernels.bias_gelu import backward_operator, bias_gelu, operator, reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


def half_step(exact: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Half the distance of neighbours in dtype around some float64 values, and 5 % for float32's own error."""
    info = torch.finfo(dtype)
    exponent = torch.frexp(exact.abs().clamp(min=info.smallest_normal)).exponent - 1
    return torch.ldexp(torch.full_like(exact, 0.5 * info.eps * 1.05), exponent)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (3, 7), (5, 64), (2, 3, 65), (9, 300), (3, 30000)])
def test_float32_is_within_its_bounds(op, shape, exact):
    x, bias, upstream = values(*shape), values(shape[-1], seed=1), values(*shape, seed=2)
    # The sum of x and bias is rounded to float32 before: that value is what counts.
    expected = reference((x + bias).double(), None, exact)
    assert ((op(x, bias, exact).double() - expected).abs() <= 2e-7 * expected.abs().clamp(min=1)).all()
    slope, = gradients(lambda t: reference(t, None, exact), [(x + bias).double()], torch.ones(shape).double())
    of_x, of_bias = gradients(lambda x, bias: op(x, bias, exact), [x, bias], upstream)
    assert ((of_x.double() - slope * upstream.double()).abs() <= 4e-7 * upstream.abs()).all()
    torch.testing.assert_close(of_bias, of_x.reshape(-1, shape[-1]).sum(0))
    assert torch.equal(op(x, None, exact), op(x, torch.zeros(shape[-1]), exact))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_rounded_once(op, dtype, exact):
    x, bias, upstream = (values(*s, dtype=dtype, seed=i) for i, s in enumerate(((70, 45), (45,), (70, 45))))
    expected = reference((x.float() + bias.float()).double(), None, exact)
    error = (op(x, bias, exact).double() - expected).abs()
    assert (error <= half_step(expected, dtype) + 2e-7).all()
    wide = gradients(lambda x, bias: op(x, bias, exact), [x.float(), bias.float()], upstream.float())
    ours = gradients(lambda x, bias: op(x, bias, exact), [x, bias], upstream)
    assert torch.equal(ours[0], wide[0].to(dtype))


def test_strides_and_threads_do_not_matter(op):
    x, bias = values(400, 300).t(), values(800)[::2]
    assert torch.equal(op(x, bias, False), op(x.contiguous(), bias.contiguous(), False))
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            upstream = torch.ones(300, 400).t().contiguous().t()
            results.append((op(x, bias, False), *gradients(bias_gelu, [x, bias], upstream)))
    finally:
        torch.set_num_threads(before)
    for result in results:
        assert torch.equal(result[0], results[0][0])
        assert torch.equal(result[1], results[0][1])


def test_gradcheck_in_float64():
    inputs = [values(3, 5).double().requires_grad_(), values(5, seed=1).double().requires_grad_()]
    for exact in (False, True):
        assert torch.autograd.gradcheck(lambda x, bias, exact=exact: bias_gelu(x, bias, exact), inputs)


def test_torch_finds_the_operators_in_order(op):
    x, bias = values(4, 40).requires_grad_(), values(40, seed=1).requires_grad_()
    for arguments in ((x, bias, True), (x, None, False), (values(40, 4).t(), bias.detach()[:40], False)):
        torch.library.opcheck(op, arguments)
        x, bias, exact = arguments
        torch.library.opcheck(backward_operator(), (values(*x.shape).t().contiguous().t(), x.detach(),
                                                    None if bias is None else bias.detach(), exact))


def test_megatrons_formula_is_the_same(op):
    from megatron.core.fusions.fused_bias_gelu import bias_gelu as megatrons
    from megatron.core.fusions.fused_bias_gelu import bias_gelu_back

    x, bias, upstream = values(20, 30), values(30, seed=1), values(20, 30, seed=2)
    with torch.compiler.set_stance("force_eager"):  # megatron-core compiles them, which takes a compiler and its time
        expected, expected_of_x = megatrons(bias, x), bias_gelu_back(upstream, bias, x)
    torch.testing.assert_close(bias_gelu(x, bias), expected, atol=2e-6, rtol=1e-5)
    of_x, of_bias = gradients(bias_gelu, [x, bias], upstream)
    torch.testing.assert_close(of_x, expected_of_x, atol=5e-6, rtol=1e-5)
    torch.testing.assert_close(of_bias, expected_of_x.sum(0), atol=5e-5, rtol=1e-5)


def test_what_does_not_fit_is_refused(op):
    x = values(4, 8)
    with pytest.raises(ValueError, match="bias"):
        bias_gelu(x, values(7))
    with pytest.raises(RuntimeError, match="bias"):
        op(x, values(7), False)
    with pytest.raises(RuntimeError, match="dtype"):
        op(x, values(8, dtype=torch.bfloat16), False)
    with pytest.raises(RuntimeError, match="gradient"):
        backward_operator()(values(8, 4), x, None, False)
