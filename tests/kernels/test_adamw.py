"""adamw: its error against float64, in place, halves beside float32, threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import values

from megatron_fugaku.kernels.adamw import adamw, is_for_kernel, operator, reference

USUAL = {"lr": 1e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


def make_state(*shape: int) -> list[torch.Tensor]:
    """Parameter, gradient and both moments."""
    return [values(*shape), values(*shape, seed=1), values(*shape, seed=2), values(*shape, seed=3).square()]


settings = st.fixed_dictionaries({
    "lr": st.floats(1e-6, 1.0), "betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.999)),
    "eps": st.floats(1e-12, 1e-3), "weight_decay": st.floats(0, 0.5), "step": st.integers(1, 10**6),
    "scale": st.floats(1e-3, 1.0), "decoupled": st.booleans(),
})


@given(settings, st.integers(0, 300))
def test_float32_is_within_its_bounds(settings, count):
    state, (beta1, beta2) = make_state(count), settings["betas"]
    parameter, gradient, first, second = (tensor.double() for tensor in state)
    # The gradient that counts is rounded to float32.
    gradient = (state[1] * settings["scale"]).double()
    if not settings["decoupled"]:
        gradient = (gradient + torch.tensor(settings["weight_decay"]).double() * parameter).float().double()
    wide = [parameter.clone(), gradient, first.clone(), second.clone()]
    adamw(*state, **settings)
    prepared = {"scale": 1.0, "decoupled": True, "weight_decay": settings["weight_decay"] * settings["decoupled"]}
    adamw(*wide, **settings | prepared)
    terms = beta1 * first.abs() + (1 - beta1) * gradient.abs()
    assert ((state[2] - wide[2]).abs() <= 2e-7 * terms).all()
    assert ((state[3] - wide[3]).abs() <= 2e-7 * wide[3]).all()
    # Of the last term, with moments that have errors themselves.
    root = (wide[3] / (1 - beta2 ** settings["step"])).sqrt() + settings["eps"]
    rate = settings["lr"] / (1 - beta1 ** settings["step"])
    error_of_first = 2e-7 * rate * terms / root
    error_of_second = (state[3] - wide[3]).abs() / wide[3] * (rate * wide[2] / root).abs()
    bound = 1.2e-7 * parameter.abs() + 6e-7 * (rate * wide[2] / root).abs() + error_of_first + error_of_second
    assert ((state[0] - wide[0]).abs() <= bound).all()


def test_the_reference_is_torchs_own_step():
    parameter, gradient, first, second = (tensor.double() for tensor in make_state(50))
    theirs = torch.nn.Parameter(parameter.clone())
    optimizer = torch.optim.AdamW([theirs], **USUAL)
    optimizer.state[theirs] = {"step": torch.tensor(6.0), "exp_avg": first.clone(), "exp_avg_sq": second.clone()}
    theirs.grad = gradient.clone()
    optimizer.step()
    reference(parameter, gradient, first, second, None, 1e-4, 0.9, 0.95, 1e-8, 0.1, 7, 1.0, True)
    torch.testing.assert_close(parameter, theirs.detach(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_rounded_once(op, dtype):
    gradient = values(70, 45, dtype=dtype, seed=1)
    results = []
    for given_gradient in (gradient, gradient.float()):
        parameter, _, first, second = make_state(70, 45)
        low = parameter.to(dtype)
        adamw(parameter, given_gradient, first, second, low=low, step=3, **USUAL)
        results.append((parameter, first, second, low))
    parameter, _, first, second = make_state(70, 45)
    adamw(parameter, gradient.float(), first, second, step=3, **USUAL)
    for result in results:
        for ours, expected in zip(result, (parameter, first, second, parameter.to(dtype)), strict=True):
            assert torch.equal(ours, expected)


def test_strides_of_gradients_and_threads_do_not_matter(op):
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            state = make_state(300, 400)
            state[1] = values(400, 300, seed=1).t()
            adamw(*state, step=3, **USUAL)
            results.append(state)
    finally:
        torch.set_num_threads(before)
    state = make_state(300, 400)
    state[1] = values(400, 300, seed=1).t().contiguous()
    adamw(*state, step=3, **USUAL)
    for result in results:
        assert all(torch.equal(a, b) for a, b in zip(result, state, strict=True))


def test_a_view_of_a_buffer_is_updated_where_it_lies(op):
    buffer, state = torch.zeros(1000), make_state(100)
    buffer[300:400] = state[0]
    part = buffer[300:400]
    assert is_for_kernel(part, *state[1:])
    adamw(part, *state[1:], step=1, **USUAL)
    expected = make_state(100)
    adamw(*expected, step=1, **USUAL)
    assert torch.equal(buffer[300:400], expected[0])
    assert (buffer[:300] == 0).all() and (buffer[400:] == 0).all()


def test_a_saved_parameter_is_known_to_have_changed(op):
    parameter, gradient, first, second = make_state(10)
    parameter.requires_grad_()
    loss = (parameter * parameter).sum()
    adamw(parameter.data, gradient, first, second, step=1, **USUAL)
    adamw(parameter, gradient, first, second, step=2, **USUAL)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_torch_finds_the_operator_in_order(op):
    options = (1e-4, 0.9, 0.95, 1e-8, 0.1, 3, 1.0, True)
    torch.library.opcheck(op, (*make_state(4, 40), None, *options))
    torch.library.opcheck(op, (*make_state(4, 40), values(4, 40).bfloat16(), *options))


def test_what_does_not_fit_is_refused(op):
    state, options = make_state(4, 8), (1e-4, 0.9, 0.95, 1e-8, 0.1, 3, 1.0, True)
    with pytest.raises(ValueError, match="counted from 1"):
        adamw(*state, step=0, **USUAL)
    for index, wrong, message in ((0, values(8, 4).t(), "contiguous"), (1, values(4, 7), "elements"),
                                  (1, values(4, 8).bfloat16(), "halves"), (2, values(4, 8).double(), "float32"),
                                  (3, values(8, 4), "shape")):
        tensors = [wrong if i == index else tensor for i, tensor in enumerate(state)]
        with pytest.raises(RuntimeError, match=message):
            op(*tensors, None, *options)
    with pytest.raises(RuntimeError, match="low"):
        op(*state, values(4, 8), *options)
    with pytest.raises(RuntimeError, match="dtype of gradient"):
        op(state[0], state[1].half(), *state[2:], values(4, 8).bfloat16(), *options)
