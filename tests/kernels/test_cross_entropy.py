"""cross_entropy: its statistics and gradient against float64, ranks' columns, shapes, threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import wide_values as values

from megatron_fugaku.kernels.cross_entropy import backward_operator, operator, reference, reference_backward


@pytest.fixture(autouse=True)
def op():
    """The compiled operator, which all of this is about."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


def targets_of(*shape: int, columns: int, first: int) -> torch.Tensor:
    """Targets of which some are another rank's."""
    return torch.randint(first - 3, first + columns + 3, shape, generator=torch.Generator().manual_seed(1))


@given(num_rows=st.integers(0, 9), columns=st.integers(1, 300), first=st.sampled_from([0, 5000]))
def test_float32_is_within_its_bounds(num_rows, columns, first):
    logits, targets = values(2, num_rows, columns), targets_of(2, num_rows, columns=columns, first=first)
    largest, sums, at_target = operator()(logits, targets, first)
    exact = reference(logits.double(), targets, first)
    assert torch.equal(largest.double(), exact[0]) and torch.equal(at_target.double(), exact[2])
    assert ((sums - exact[1]).abs() <= 6e-7 * exact[1]).all()
    upstream, factors = values(2, num_rows, seed=2), values(2, num_rows, seed=3)
    expected = reference_backward(logits.double(), targets, first, *(t.double() for t in (upstream, largest, factors)))
    scale = factors.abs()[..., None] * (1 + 0.3 * (largest[..., None] - logits)) + upstream.abs()[..., None]
    backward_operator()(logits, targets, first, upstream, largest, factors)
    assert ((logits - expected).abs() <= 3e-7 * scale).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_read_exactly_and_rounded_once(dtype):
    logits, targets = values(7, 45, dtype=dtype), targets_of(7, columns=45, first=10)
    wide = logits.float()
    found, expected = operator()(logits, targets, 10), operator()(wide, targets, 10)
    assert all(torch.equal(ours, exact) for ours, exact in zip(found, expected, strict=True))
    arguments = (targets, 10, values(7, seed=2), found[0], values(7, seed=3))
    backward_operator()(logits, *arguments)
    backward_operator()(wide, *arguments)
    assert torch.equal(logits, wide.to(dtype))


def test_strides_and_threads_do_not_matter():
    logits, targets = values(400, 300), targets_of(600, columns=400, first=0)[::2]
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            statistics = operator()(logits.t(), targets, 0)
            gradient = logits.t().contiguous()
            backward_operator()(gradient, targets, 0, statistics[2], statistics[0], statistics[1])
            results.append((*statistics, gradient))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(ours, first) for ours, first in zip(result, results[0], strict=True))


def test_torch_finds_the_operators_in_order():
    logits, targets = values(3, 40), targets_of(3, columns=40, first=0)
    torch.library.opcheck(operator(), (logits, targets, 0))
    torch.library.opcheck(backward_operator(), (logits, targets, 0, values(3), values(3), values(3)))


def test_what_does_not_fit_is_refused(op):
    logits, targets = values(3, 4), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="columns"):
        op(values(3, 0), targets, 0)
    with pytest.raises(RuntimeError, match="int64"):
        op(logits, targets.int(), 0)
    with pytest.raises(RuntimeError, match="shape"):
        op(logits, targets[:2], 0)
    with pytest.raises(RuntimeError, match="contiguous"):
        backward_operator()(values(4, 3).t(), targets, 0, values(3), values(3), values(3))
    with pytest.raises(RuntimeError, match="factors"):
        backward_operator()(logits, targets, 0, values(3), values(3), values(2))
