"""Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in torch's integers."""

from __future__ import annotations

import torch

LOW = 0xFFFFFFFF


def philox(counter: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """Return the four words for each counter, int64 below 2^32.

    Args:
        counter: four tensors of one shape, int64 below 2^32.
        seed: 64 bits, of either sign.
    """
    words = list(counter)
    key0, key1 = seed & LOW, seed >> 32 & LOW
    for _ in range(10):
        # Products wrap to the right 64 bits; the mask behind the shift removes the copies of the sign.
        product0, product2 = words[0] * 0xD2511F53, words[2] * 0xCD9E8D57
        words = [(product2 >> 32 & LOW) ^ words[1] ^ key0, product2 & LOW,
                 (product0 >> 32 & LOW) ^ words[3] ^ key1, product0 & LOW]
        key0, key1 = key0 + 0x9E3779B9 & LOW, key1 + 0xBB67AE85 & LOW
    return words
