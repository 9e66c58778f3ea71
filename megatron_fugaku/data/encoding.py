"""What a worker process does in the tokens stage: JSONL lines → token ids. Imports nothing of megatron-core."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from megatron_fugaku.data.codec import Codec


@dataclass(frozen=True)
class Encoded:
    """Some documents as tokens, each ending in eod.

    Attributes:
        tokens: all documents one after another, shape [sum of lengths].
        lengths: tokens per document, int32, shape [documents].
        hashes: SHA-256 of each text, as its first 8 bytes (uint64); decides what is held out.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray


@lru_cache(maxsize=1)
def _codec(path: str) -> Codec:
    return Codec(path)


def encode_lines(task: tuple[Path, type[np.integer], bytes]) -> Encoded:
    """Encode whole JSONL lines with the model at the given path."""
    path, dtype, block = task
    codec = _codec(str(path))
    texts = [json.loads(line)["text"] for line in block.split(b"\n") if line]
    documents = [[*ids, codec.eos] for ids in codec.encode_batch(texts)]
    hashes = [int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "little") for text in texts]
    return Encoded(
        tokens=np.fromiter((token for ids in documents for token in ids), dtype, sum(map(len, documents))),
        lengths=np.array([len(ids) for ids in documents], np.int32),
        hashes=np.array(hashes, np.uint64),
    )
