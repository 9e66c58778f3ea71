"""embedding: rows of several ranks' parts, gradients in the order of the tokens, threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_inputs import gradient, values

from megatron_fugaku.kernels.embedding import backward_operator, embedding, operator, reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def op():
    """The compiled operator; tests that compare it with the reference need it."""
    if operator() is None:
        pytest.skip("the extension of the kernels was not built")
    return operator()


def make_tokens(*shape: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    """Tokens of which a few are most of all, as in a language."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) ** 4 * vocabulary).long()


@given(st.integers(0, 9), st.integers(0, 50), st.integers(1, 30), st.integers(0, 700), st.integers(0, 20),
       st.integers(0, 20))
def test_float32_is_within_its_bounds(batch, length, num_rows, width, before, behind):
    weight, vocabulary = values(num_rows, width), before + num_rows + behind
    tokens = make_tokens(batch, length, vocabulary=vocabulary)
    found = embedding(weight, tokens, before, vocabulary)
    assert torch.equal(found, reference(weight, tokens, before, vocabulary))
    upstream = values(batch, length, width, seed=1)
    of_weight = gradient(lambda weight: embedding(weight, tokens, before, vocabulary), weight, upstream)
    exact = gradient(lambda weight: reference(weight, tokens, before, vocabulary), weight.double(), upstream.double())
    size = gradient(lambda weight: reference(weight, tokens, before, vocabulary), weight.double(),
                    upstream.double().abs())
    assert ((of_weight - exact).abs() <= 6e-8 * max(1, batch * length) * size).all()


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_halves_are_rounded_once(op, dtype):
    weight, tokens = values(40, 70, dtype=dtype), make_tokens(3, 100, vocabulary=60)
    upstream = values(3, 100, 70, seed=1, dtype=dtype)
    assert torch.equal(op(weight, tokens, 10, 60), op(weight.float(), tokens, 10, 60).to(dtype))
    wide = backward_operator()(upstream.float(), tokens, 10, 40)
    assert torch.equal(backward_operator()(upstream, tokens, 10, 40), wide.to(dtype))


def test_parts_of_a_table_add_up_to_it(op):
    weight, tokens = values(60, 20), make_tokens(4, 50, vocabulary=60)
    parts = [op(weight[first:first + 20], tokens, first, 60) for first in (0, 20, 40)]
    assert torch.equal(sum(parts), weight[tokens])
    upstream = values(4, 50, 20, seed=1)
    gradients = [backward_operator()(upstream, tokens, first, 20) for first in (0, 20, 40)]
    assert torch.equal(torch.cat(gradients), backward_operator()(upstream, tokens, 0, 60))


def test_gradients_are_added_in_the_order_of_the_tokens(op):
    """1 + 2^-24 + 2^-24 is 1 in float32, and 2^-24 + 2^-24 + 1 is not."""
    small = 2.0**-24
    upstream = torch.tensor([[1.0, small], [small, small], [small, 1.0]])
    found = backward_operator()(upstream, torch.zeros(3, dtype=torch.int64), 0, 1)
    assert found.tolist() == [[1.0, 1.0 + 2 * small]]


def test_strides_and_threads_do_not_matter(op):
    weight, tokens = values(700, 300).t(), make_tokens(70, 20, vocabulary=300).t()
    upstream = values(700, 70, 20, seed=1).permute(2, 1, 0)
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            results.append((op(weight, tokens, 0, 300), backward_operator()(upstream, tokens, 0, 300)))
    finally:
        torch.set_num_threads(before)
    expected = weight.contiguous()[tokens]
    of_weight = backward_operator()(upstream.contiguous(), tokens.contiguous(), 0, 300)
    for result in results:
        assert torch.equal(result[0], expected) and torch.equal(result[1], of_weight)


def test_gradcheck_in_float64():
    tokens = make_tokens(2, 4, vocabulary=9)
    weight = values(5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda weight: embedding(weight, tokens, 2, 9), weight)


def test_torch_finds_the_operators_in_order(op):
    tokens = make_tokens(4, 6, vocabulary=30)
    torch.library.opcheck(op, (values(30, 8).requires_grad_(), tokens, 0, 30))
    torch.library.opcheck(backward_operator(), (values(4, 6, 8), tokens, 3, 20))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("token", [-1, 30])
def test_a_token_that_there_is_not_is_refused(dtype, token):
    tokens = torch.tensor([3, token])
    with pytest.raises(RuntimeError, match="not in the vocabulary of 30"):
        embedding(values(20, 4).to(dtype), tokens, 5, 30)


def test_what_does_not_fit_is_refused(op):
    with pytest.raises(RuntimeError, match="int64"):
        op(values(4, 5), torch.zeros(3, dtype=torch.int32), 0, 4)
    with pytest.raises(RuntimeError, match="weight"):
        op(values(4), torch.zeros(3, dtype=torch.int64), 0, 4)
    with pytest.raises(RuntimeError, match="row for each token"):
        backward_operator()(values(4, 5), torch.zeros(3, dtype=torch.int64), 0, 4)
