"""float16 and bfloat16 conversions of the core, against torch's, to the bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.comm.extension import load_extension

HALVES = [torch.bfloat16, torch.float16]


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int16 if tensor.element_size() == 2 else torch.int32)


def narrowed(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    result = torch.empty_like(values, dtype=dtype)
    load_extension().convert(values, result)
    return result


@pytest.mark.parametrize("dtype", HALVES)
def test_every_half_widens_exactly_and_comes_back(dtype):
    halves = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    wide = torch.empty(halves.shape, dtype=torch.float32)
    load_extension().convert(halves, wide)
    numbers = ~halves.isnan()
    assert torch.equal(bits(wide[numbers]), bits(halves.float()[numbers]))
    assert wide[~numbers].isnan().all()
    assert torch.equal(bits(narrowed(wide, dtype)[numbers]), bits(halves[numbers]))


@pytest.mark.parametrize("dtype", HALVES)
@given(patterns=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=50))
def test_any_float_rounds_as_torch_rounds(dtype, patterns):
    values = torch.tensor(patterns, dtype=torch.int32).view(torch.float32)
    rounded, expected = narrowed(values, dtype), values.to(dtype)
    # Which of the NaNs it is differs among torch's own code paths.
    assert torch.equal(rounded.isnan(), values.isnan())
    assert torch.equal(bits(rounded[~values.isnan()]), bits(expected[~values.isnan()]))


@pytest.mark.parametrize("dtype", HALVES)
def test_ties_and_their_neighbours_round_to_even(dtype):
    """Every midpoint of two neighbouring halves, and the floats just beside it."""
    halves = torch.arange(0, 0x7C00 if dtype == torch.float16 else 0x7F80, dtype=torch.int16).view(dtype)
    low = halves.double()
    high = torch.cat([low[1:], 2 * low[-1:] - low[-2:-1]])
    middle = ((low + high) / 2).float()
    for step in (-1, 0, 1):
        values = (bits(middle) + step).view(torch.float32)
        values = torch.cat([values, -values])
        assert torch.equal(bits(narrowed(values, dtype)), bits(values.to(dtype)))
