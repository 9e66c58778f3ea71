"""What each rank contributes to an operation."""

from __future__ import annotations

import functools

import torch


def fill(rank: int, shape: tuple[int, ...], dtype: torch.dtype, salt: int = 0) -> torch.Tensor:
    """The tensor that `rank` contributes: any rank can compute that of any other."""
    return _drawn(rank, shape, dtype, salt).clone()


@functools.lru_cache(maxsize=256)
def _drawn(rank: int, shape: tuple[int, ...], dtype: torch.dtype, salt: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 * rank + salt)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    if dtype.is_complex:
        return torch.randn(shape, generator=generator, dtype=torch.complex128).to(dtype)
    return torch.randint(0, 5, shape, generator=generator).to(dtype)
