"""Training is deterministic, loses no line, and says clearly when the vocabulary does not fit the text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.data.recipe import TokenizerRecipe
from megatron_fugaku.data.tokenizer_training import (
    MAX_LINE_BYTES,
    sample_lines,
    share_budget,
    split_lines,
    train_tokenizer,
)
from megatron_fugaku.errors import DataError

LINES = [f"number {n} of the lines, {n * n} squared; 値は{n}です。" for n in range(500)]


def test_same_lines_give_the_same_model() -> None:
    recipe = TokenizerRecipe(vocab_size=295, num_threads=2)
    assert train_tokenizer(LINES, recipe) == train_tokenizer(LINES, recipe)


def test_vocabulary_too_large() -> None:
    with pytest.raises(DataError, match=r"vocab_size 9000 is too large .* at most \d+"):
        train_tokenizer(LINES, TokenizerRecipe(vocab_size=9000))


def test_vocabulary_too_small() -> None:
    with pytest.raises(DataError, match="too small"):
        train_tokenizer(["".join(chr(code) for code in range(0x4E00, 0x5200))] * 9, TokenizerRecipe(vocab_size=300))


@given(st.text(alphabet="a 。漢\n", max_size=60), st.integers(1, 200))
def test_split_lines_keeps_all_text(text: str, times: int) -> None:
    lines = list(split_lines(text * times))
    assert "".join(lines).replace("\n", "").split() == "".join(
        line for line in (text * times).split("\n") if line.strip()
    ).split()
    assert all(len(line.encode()) <= MAX_LINE_BYTES for line in lines)


def test_share_budget_gives_what_a_small_language_leaves_to_the_others() -> None:
    sizes = {"ja": 900, "en": 900, "code": 50}
    sources = {name: {"language": name, "bytes": size, "documents": 1} for name, size in sizes.items()}
    assert share_budget(1000, sources, {"ja": 2, "en": 1, "code": 1}) == {"code": 50, "en": 316, "ja": 633}
    assert share_budget(185, sources, {}) == {"code": 5, "en": 90, "ja": 90}
    assert share_budget(9999, sources, {}) == {"code": 50, "en": 900, "ja": 900}


def test_sample_takes_from_the_whole_corpus(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"document {n:04d}"}) + "\n" for n in range(1000)))
    lines = sample_lines([path], 1300, seed=1)
    assert lines == sorted(lines) and len(lines) == 100
    assert lines[0] < "document 0100" and lines[-1] > "document 0900"
    assert lines == sample_lines([path], 1300, seed=1) != sample_lines([path], 1300, seed=2)
