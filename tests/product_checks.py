"""What the tests of all kinds of matrix products share."""

from __future__ import annotations

import torch
from kernel_inputs import values

from megatron_fugaku.kernels.matmul import multiply, multiply_into


def draw_integers(seed: int, batch: int, rows: int, columns: int, depth: int,
                  turned: tuple[bool, bool, bool]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Small whole numbers, int64: [batch, rows, depth], [batch, depth, columns] and [batch, rows, columns], each turned
    in memory where ``turned`` says so."""
    generator = torch.Generator().manual_seed(seed)

    def draw(height: int, width: int, is_turned: bool) -> torch.Tensor:
        if is_turned:
            return draw(width, height, False).transpose(1, 2)
        return torch.randint(-3, 4, (batch, height, width), generator=generator)

    sizes = (rows, depth), (depth, columns), (rows, columns)
    return tuple(draw(*size, turn) for size, turn in zip(sizes, turned, strict=True))


def assert_threads_and_strides_do_not_matter(dtype: torch.dtype, depth: int) -> None:
    """Multiply the same numbers on 1, 2 and 5 threads, and as they may lie in memory: equal to the bit."""
    a, b = values(3, 70, depth, dtype=dtype), values(3, depth, 90, dtype=dtype, seed=1)
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 5):
            torch.set_num_threads(num_threads)
            results.append(multiply(a, b))
            results.append(multiply(a.transpose(1, 2).contiguous().transpose(1, 2), b))
            results.append(multiply(a.permute(1, 0, 2).contiguous().permute(1, 0, 2), b))
            results.append(multiply(torch.stack([a, a], 3)[..., 0], torch.stack([b, b], 3)[..., 1]))
            results.append(multiply_into(torch.empty(3, 90, 70, dtype=dtype).transpose(1, 2), a, b))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)
