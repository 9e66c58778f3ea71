"""The worker map keeps order, is bounded, passes errors on, and names a worker's death."""

from __future__ import annotations

import os

import pytest

from megatron_fugaku.data.workers import WorkerPool
from megatron_fugaku.errors import DataError


def square(number: int) -> int:
    if number == 13:
        raise ValueError("thirteen")
    if number == 99:
        os._exit(9)
    return number * number


@pytest.mark.parametrize("num_workers", [1, 2])
def test_order_and_errors(num_workers: int) -> None:
    taken = []

    def items(count: int):
        for number in range(count):
            taken.append(number)
            yield number

    with WorkerPool(num_workers) as pool:
        results = pool.map(square, items(12))
        assert next(results) == 0
        assert len(taken) <= 3 * num_workers
        assert list(results) == [n * n for n in range(1, 12)]
        with pytest.raises(ValueError, match="thirteen"):
            list(pool.map(square, items(20)))
        assert list(pool.map(square, [5])) == [25]


def test_death_of_a_worker() -> None:
    with WorkerPool(2) as pool, pytest.raises(DataError, match="one of 2 worker processes died"):
        list(pool.map(square, [1, 99, 2]))
