"""FusedAdamW against torch's own optimizers, step by step."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.kernels.adamw import operator
from megatron_fugaku.kernels.implementations import set_implementations
from megatron_fugaku.patches.adamw import FusedAdamW

SIZES = [(1,), (3, 5), (64,), (1000,)]


@pytest.fixture
def by_torch():
    """Without the kernel."""
    set_implementations({"adamw": "reference"})
    yield
    set_implementations("auto")


@pytest.fixture
def by_kernel():
    """With the kernel, also where torch is faster."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    set_implementations({"adamw": "kernel"})
    yield
    set_implementations("auto")


def make_parameters(seed: int) -> list[torch.nn.Parameter]:
    random = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(size, generator=random)) for size in SIZES]


def set_gradients(parameters: list[torch.nn.Parameter], seed: int, scale: float = 1.0) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = scale * torch.randn(parameter.shape, generator=random)


options = st.fixed_dictionaries({
    "lr": st.floats(1e-6, 1.0), "betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.999)),
    "eps": st.floats(1e-10, 1e-3), "weight_decay": st.floats(0, 0.5),
})


@given(options, st.booleans(), st.floats(1e-4, 1e3))
@pytest.mark.usefixtures("by_torch")
def test_every_step_is_that_of_torch_bit_for_bit(options, decoupled, scale):
    ours, theirs = make_parameters(0), make_parameters(0)
    reference = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = FusedAdamW(ours, **options, adam_w_mode=decoupled)
    expected = reference(theirs, **options, fused=True)
    for step in range(4):
        for parameters in (ours, theirs):
            set_gradients(parameters, step, scale)
        for some in (optimizer, expected):
            some.param_groups[0]["lr"] = options["lr"] / (step + 1)  # as a schedule does
            some.step()
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)
            for moment in ("exp_avg", "exp_avg_sq"):
                assert torch.equal(optimizer.state[a][moment], expected.state[b][moment])
    assert optimizer.param_groups[0]["step"] == 4


@pytest.mark.usefixtures("by_kernel")
@given(options, st.booleans(), st.floats(1e-4, 1e3))
def test_the_kernels_steps_are_near_those_of_float64(options, decoupled, scale):
    """Within 1e-5 of how far a parameter moved, or twice as far off as torch's own float32 steps: where a moment
    forgets nearly all and a small gradient follows a large one, of their quotient no digit need be right."""
    if not decoupled:  # what Adam adds to a gradient may cancel it too
        options = options | {"weight_decay": 0.0}
    ours, theirs = make_parameters(0), make_parameters(0)
    exact = [torch.nn.Parameter(parameter.detach().double()) for parameter in theirs]
    reference = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizers = (FusedAdamW(ours, **options, adam_w_mode=decoupled), reference(theirs, **options, fused=True),
                  reference(exact, **options))
    moved = [torch.zeros_like(parameter) for parameter in exact]
    for step in range(4):
        before = [parameter.detach().clone() for parameter in exact]
        for parameters in (ours, theirs):
            set_gradients(parameters, step, scale)
        for parameter, single in zip(exact, theirs, strict=True):
            parameter.grad = single.grad.double()
        for optimizer in optimizers:
            optimizer.step()
        for distance, parameter, old in zip(moved, exact, before, strict=True):
            distance += (parameter.detach() - old).abs()
    for a, b, true, distance in zip(ours, theirs, exact, moved, strict=True):
        allowed = 1e-5 * (true.abs() + distance + options["lr"])
        assert ((a - true).abs() <= torch.maximum(allowed, 2 * (b - true).abs())).all()


@pytest.mark.parametrize("kind", ["by_torch", "by_kernel"])
def test_gradients_may_be_scaled_by_the_step_instead_of_before_it(kind, request):
    request.getfixturevalue(kind)
    scaled, before = make_parameters(4), make_parameters(4)
    optimizers = FusedAdamW(scaled, lr=0.1), FusedAdamW(before, lr=0.1)
    for step in range(3):
        set_gradients(scaled, step)
        set_gradients(before, step)
        if step < 2:
            optimizers[0].grad_scale = 0.3
            torch._foreach_mul_([parameter.grad for parameter in before], 0.3)
        for optimizer in optimizers:
            optimizer.step()
        assert optimizers[0].grad_scale == 1.0
    assert all(torch.equal(a, b) for a, b in zip(scaled, before, strict=True))


@given(options)
def test_it_is_adamw_as_published(options):
    """Loshchilov and Hutter, algorithm 2, in float64."""
    [ours] = [parameter for parameter in make_parameters(1) if parameter.numel() == 64]
    optimizer = FusedAdamW([ours], **options)
    beta1, beta2 = options["betas"]
    weight = ours.detach().double().clone()
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step in range(1, 5):
        set_gradients([ours], step)
        gradient = ours.grad.double()
        optimizer.step()
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        update = (first / (1 - beta1**step)) / ((second / (1 - beta2**step)).sqrt() + options["eps"])
        weight = weight - options["lr"] * (update + options["weight_decay"] * weight)
    assert torch.allclose(ours.double(), weight, rtol=2e-5, atol=2e-5 * options["lr"] + 1e-7)


@pytest.mark.parametrize("kind", ["by_torch", "by_kernel"])
def test_the_state_is_what_apex_keeps_and_restores_a_run_bit_for_bit(kind, request):
    request.getfixturevalue(kind)
    ours = make_parameters(2)
    groups = [{"params": ours[:2], "weight_decay": 0.1}, {"params": ours[2:], "weight_decay": 0.0}]
    optimizer = FusedAdamW(groups, lr=1e-2)
    for step in range(3):
        set_gradients(ours, step)
        optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    assert all(set(state) == {"exp_avg", "exp_avg_sq"} for state in saved["state"].values())
    assert [group["step"] for group in saved["param_groups"]] == [3, 3]
    copies = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    resumed = FusedAdamW([{"params": copies[:2]}, {"params": copies[2:]}], lr=1.0)
    resumed.load_state_dict(saved)
    for parameters, some in ((ours, optimizer), (copies, resumed)):
        for step in range(3, 5):
            set_gradients(parameters, step)
            some.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, copies, strict=True))


def test_parameters_without_gradient_stay_and_the_closure_is_called():
    ours = make_parameters(3)
    before = [parameter.detach().clone() for parameter in ours]
    set_gradients(ours[:1], 0)
    optimizer = FusedAdamW(ours, lr=0.1)
    assert optimizer.step(lambda: "loss") == "loss"
    assert not torch.equal(ours[0], before[0])
    assert all(torch.equal(a, b) for a, b in zip(ours[1:], before[1:], strict=True))


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"eps": -1.0}, {"weight_decay": -1.0}, {"betas": (1.0, 0.9)},
                                   {"betas": (0.9, -0.1)}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        FusedAdamW(make_parameters(0), **wrong)


def test_graphs_of_a_gpu_are_refused():
    with pytest.raises(ValueError, match="need a GPU"):
        FusedAdamW(make_parameters(0), capturable=True)


def test_a_schedule_may_say_the_learning_rate_later():
    parameters = make_parameters(0)
    optimizer = FusedAdamW(parameters, lr=None)
    assert optimizer.param_groups[0]["lr"] is None
    expected = FusedAdamW(make_parameters(0), lr=1e-2)
    optimizer.param_groups[0]["lr"] = 1e-2
    for one in (optimizer, expected):
        for parameter in one.param_groups[0]["params"]:
            parameter.grad = torch.ones_like(parameter)
        one.step()
    for parameter, other in zip(parameters, expected.param_groups[0]["params"], strict=True):
        assert torch.equal(parameter, other)
