"""attention: its error against float64 beside that of the unfused form, gradients, masks, shapes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_fugaku.kernels.attention import attention, backward_operator, keep_mask, operator, reference


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


def make(num_queries: int, num_keys: int, batch: int = 1, heads: int = 2, key_heads: int = 1, width: int = 8,
         dtype: torch.dtype = torch.float32, seed: int = 0) -> list[torch.Tensor]:
    """Return query, key, value and a gradient of out."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(num_queries, heads), (num_keys, key_heads), (num_keys, key_heads), (num_queries, heads)]
    return [torch.randn(length, batch, number, width, generator=generator).to(dtype) for length, number in shapes]


def run(function, inputs: list[torch.Tensor], *options) -> list[torch.Tensor]:
    """Return out and the three gradients."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs[:3]]
    out = function(*leaves, *options)
    out.backward(inputs[3].to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return ((ours.double() - exact).norm() / exact.norm().clamp(min=1e-30)).item()


@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize("is_causal", [True, False])
def test_it_is_at_most_twice_as_far_from_float64_as_the_unfused_form(op, p, is_causal):
    inputs = make(600, 600, heads=2, key_heads=2, width=64)
    options = (0.125, is_causal, p, 5, 0, 0, 2)
    exact = run(reference, [x.double() for x in inputs], *options)
    unfused = run(reference, inputs, *options)
    ours = run(lambda *arguments: op(*arguments)[0], inputs, *options)
    for a, b, c in zip(ours, unfused, exact, strict=True):
        assert error(a, c) <= 2 * error(b, c)


@settings(max_examples=40, deadline=None)
@given(num_queries=st.integers(1, 70), more_keys=st.integers(0, 200), batch=st.integers(1, 2),
       key_heads=st.integers(1, 2), group=st.integers(1, 3), width=st.integers(1, 40), is_causal=st.booleans(),
       p=st.sampled_from([0.0, 0.3]), first_head=st.integers(0, 4))
def test_any_shape_agrees_with_the_reference(num_queries, more_keys, batch, key_heads, group, width, is_causal, p,
                                             first_head):
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    heads = key_heads * group
    inputs = make(num_queries, num_queries + more_keys, batch, heads, key_heads, width, seed=width)
    options = (0.3, is_causal, p, -9, 0, first_head, heads + 4)
    ours = run(lambda *arguments: operator()(*arguments)[0], inputs, *options)
    for a, b in zip(ours, run(reference, [x.double() for x in inputs], *options), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_rounded_once(op, dtype):
    inputs = make(100, 120, dtype=dtype)
    options = (0.3, True, 0.1, 1, 0, 0, 2)
    out = op(*inputs[:3], *options)[0]
    wide = op(*(x.float() for x in inputs[:3]), *options)[0]
    assert torch.equal(out, wide.to(dtype))


def test_strides_and_threads_do_not_matter(op):
    mixed = torch.randn(90, 2, 3, 3 * 16)
    views = [mixed[..., i * 16:(i + 1) * 16] for i in range(3)]
    options = (0.25, True, 0.1, 3, 0, 0, 3)
    gradient = torch.randn(2, 3, 90, 16).permute(2, 0, 1, 3)
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 5):
            torch.set_num_threads(num_threads)
            for inputs in (views, [x.contiguous() for x in views]):
                results.append(run(lambda *arguments: op(*arguments)[0], [*inputs, gradient], *options))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_the_mask_of_a_head_does_not_depend_on_who_has_it():
    whole = keep_mask(torch.arange(8), 20, 33, 0.4, seed=7)
    for first in (0, 2, 6):
        assert torch.equal(keep_mask(torch.arange(first, first + 2), 20, 33, 0.4, seed=7), whole[first:first + 2])
    assert 0.55 < whole.float().mean() < 0.65
    inputs = make(20, 20, batch=2, heads=4, key_heads=4)
    out = attention(*inputs[:3], 0.3, p=0.4, seed=7)
    for first in (0, 2):
        half = [x[:, :, first:first + 2] for x in inputs[:3]]
        torch.testing.assert_close(attention(*half, 0.3, p=0.4, seed=7, first_head=first, heads_of_model=4),
                                   out[:, :, first:first + 2], rtol=0, atol=0)


def test_memory_is_in_proportion_to_the_length(op):
    """Scores of this length would take 288 MB, and their gradients again."""
    import resource

    inputs = [x.requires_grad_() for x in make(6000, 6000, heads=2, key_heads=2, width=4)[:3]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    op(*inputs, 0.5, True, 0.0, 0, 0, 0, 2)[0].sum().backward()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


def test_gradcheck_in_float64():
    inputs = [x.double().requires_grad_() for x in make(5, 7, width=3)[:3]]
    assert torch.autograd.gradcheck(lambda *x: attention(*x, 0.5, p=0.2, seed=3), inputs)


def test_torch_finds_the_operators_in_order(op):
    query, key, value, gradient = make(6, 9, batch=2)
    options = (0.3, True, 0.1, 3, 0, 0, 2)
    torch.library.opcheck(op, (*(x.requires_grad_() for x in (query, key, value)), *options))
    with torch.no_grad():
        out, statistics = op(query, key, value, *options)
        inputs = (gradient, query.detach(), key.detach(), value.detach(), out, statistics, *options)
        torch.library.opcheck(backward_operator(), inputs)


def test_what_does_not_fit_is_refused(op):
    query, key, value, _ = make(6, 6)
    with pytest.raises(ValueError, match="do not fit"):
        attention(query, key[..., :4], value, 1.0)
    with pytest.raises(ValueError, match="causal"):
        attention(query, key[:4], value[:4], 1.0)
    with pytest.raises(ValueError, match="probability"):
        attention(query, key, value, 1.0, p=1.0)
    with pytest.raises(RuntimeError, match="multiple"):
        op(query, *(torch.cat([x] * 4, 2) for x in (key, value)), 1.0, True, 0.0, 0, 0, 0, 2)
    with pytest.raises(RuntimeError, match="scale"):
        op(query, key, value, 0.0, True, 0.0, 0, 0, 0, 2)
    with pytest.raises(RuntimeError, match="heads_of_model"):
        op(query, key, value, 1.0, True, 0.0, 0, 0, 1, 2)
