"""Costs that are fitted to times, and how well algorithms are chosen by them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.bench.comm_costs import LEAST_BYTE_S, fit_costs, judge
from megatron_fugaku.comm.extension import load_extension

SIZES = [1 << exponent for exponent in range(10, 25, 2)]


def terms_and_names():
    extension = load_extension()
    cases = [(collective, num_bytes, name) for collective in ("all_reduce", "reduce_scatter", "all_gather")
             for num_bytes in SIZES for name in ("mpi", "pieces", "halving", "ring")]
    return [extension.cost_terms(*case[:2], 12, 1, case[2]) for case in cases], extension.cost_names()


@given(st.lists(st.floats(1e-2, 1e2), min_size=8, max_size=8))
def test_costs_are_found_again(factors):
    terms, names = terms_and_names()
    costs = np.array([2e-5, 2e-6, 5e-7, 2e-10, 1e-10, 2e-6, 4e-10, 2e-9]) * factors
    found = fit_costs(terms, (np.array(terms) @ costs).tolist(), names)
    assert list(found) == names
    assert list(found.values()) == pytest.approx(costs.tolist(), rel=1e-6)


def test_costs_are_never_negative():
    terms, names = terms_and_names()
    # Long vectors that take less than short ones.
    found = fit_costs(terms, [1 / (1 + sum(row)) for row in terms], names)
    assert min(found.values()) >= 0
    assert found["byte"] >= LEAST_BYTE_S and found["mpi_byte"] >= LEAST_BYTE_S


def test_a_choice_is_judged_by_what_it_loses():
    times_s = {("all_reduce", 1, "a"): 1.0, ("all_reduce", 1, "b"): 3.0, ("all_reduce", 2, "a"): 2.0,
               ("all_reduce", 2, "b"): 1.0, ("all_gather", 2, "a"): 5.0}
    assert judge(times_s, lambda *_: "a") == (1.0, 2.0)
    assert judge(times_s, lambda _collective, num_bytes, names: names[-1] if num_bytes > 1 else "a") == (1.0, 1.0)
