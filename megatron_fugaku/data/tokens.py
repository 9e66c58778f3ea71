"""The tokens stage: corpus → Megatron ``.bin/.idx``, one pair per language and split.

``<language>.bin`` trains; ``<language>_valid.bin`` holds the documents held out for validation, chosen by the hash
of their text, so that a document never changes sides when others come or go.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_fugaku.data.encoding import Encoded, encode_lines
from megatron_fugaku.data.progress import Progress
from megatron_fugaku.data.recipe import TokensRecipe
from megatron_fugaku.data.stage import StageRecord, building, find_change, finish, hash_settings, load_record
from megatron_fugaku.data.tokenizer_training import MODEL_NAME
from megatron_fugaku.data.workers import WorkerPool

FORMAT = 1
BLOCK_BYTES = 1 << 20
SPLITS = ("train", "valid")


def prefix_name(language: str, split: str) -> str:
    """Name of a ``.bin/.idx`` pair without suffix: ``ja`` trains, ``ja_valid`` validates."""
    return language if split == "train" else f"{language}_{split}"


def build_tokens(
    recipe: TokensRecipe,
    corpus: Path,
    corpus_record: StageRecord,
    tokenizer: Path,
    tokenizer_record: StageRecord,
    folder: Path,
    pool: WorkerPool,
    progress: Progress,
) -> tuple[StageRecord, bool]:
    """Write ``folder``, or reuse what is there.

    Returns:
        The stage's record, and whether it was reused. ``facts`` holds ``languages`` and ``sources``, each name →
        ``{documents, tokens, train_documents, train_tokens, valid_documents, valid_tokens}``, and ``dtype``.
    """
    settings = hash_settings(format=FORMAT, recipe=recipe.model_dump(mode="json"))
    inputs = {name: file.sha256 for name, file in corpus_record.files.items() if name.endswith(".jsonl")}
    inputs[MODEL_NAME] = tokenizer_record.files[MODEL_NAME].sha256
    old = load_record(folder)
    if old is not None and old.settings == settings and old.inputs == inputs and find_change(folder, old) is None:
        return old, True
    sources: dict[str, list[str]] = {}
    total = 0
    for name, facts in corpus_record.facts["sources"].items():
        if facts["documents"]:
            sources.setdefault(facts["language"], []).append(name)
            total += facts["documents"]
    progress.say("tokens: loading megatron-core")
    with warnings.catch_warnings():  # about GPU extras that this stage has no use for
        warnings.simplefilter("ignore")
        logging.getLogger("megatron").setLevel(logging.ERROR)
        from megatron.core.datasets.indexed_dataset import DType
    dtype = DType.optimal_dtype(tokenizer_record.facts["vocab_size"])
    with building(folder) as partial, progress.task("tokens", total, "documents") as ticker:
        facts: dict[str, Any] = {"dtype": np.dtype(dtype).name, "languages": {}, "sources": {}}
        for language, names in sorted(sources.items()):
            writer = _Writer(partial, language, dtype, recipe.valid_share)
            for source, encoded in _encode(corpus, names, tokenizer / MODEL_NAME, dtype, pool):
                writer.add(source, encoded)
                ticker.advance(len(encoded.lengths))
            if recipe.valid_share and writer.needs_another_round:
                writer.finish()
                writer = _Writer(partial, language, dtype, recipe.valid_share, held_out=writer.smallest_hash)
                for source, encoded in _encode(corpus, names, tokenizer / MODEL_NAME, dtype, pool):
                    writer.add(source, encoded)
            facts["languages"][language] = writer.finish()
            facts["sources"] |= writer.sources
        return finish(partial, settings, inputs, facts), False


def _encode(
    corpus: Path, names: Sequence[str], model: Path, dtype: type[np.integer], pool: WorkerPool
) -> Iterator[tuple[str, Encoded]]:
    """(source, encoded block) of all documents, in order."""
    order: list[str] = []

    def blocks() -> Iterator[tuple[Path, type[np.integer], bytes]]:
        for name in names:
            with (corpus / f"{name}.jsonl").open("rb") as file:
                while lines := file.readlines(BLOCK_BYTES):
                    order.append(name)
                    yield model, dtype, b"".join(lines)

    for number, encoded in enumerate(pool.map(encode_lines, blocks())):
        yield order[number], encoded


class _Writer:
    """The two ``.bin/.idx`` pairs of one language, and their figures."""

    def __init__(self, folder: Path, language: str, dtype, valid_share: float, held_out: int | None = None):
        from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

        self._folder, self._language = folder, language
        self._limit = int(valid_share * 2**64)
        self._held_out = held_out
        self._builders = {
            split: IndexedDatasetBuilder(str(folder / f"{prefix_name(language, split)}.bin"), dtype=dtype)
            for split in SPLITS
        }
        self.sources: dict[str, dict[str, int]] = {}
        self.smallest_hash: int | None = None
        self._num_documents = 0

    def add(self, source: str, encoded: Encoded) -> None:
        """Append documents to the pair that each belongs to."""
        facts = self.sources.setdefault(
            source, {f"{split}_{kind}": 0 for split in SPLITS for kind in ("documents", "tokens")}
        )
        end = 0
        for length, text_hash in zip(encoded.lengths.tolist(), encoded.hashes.tolist(), strict=True):
            start, end = end, end + length
            split = "valid" if text_hash < self._limit or text_hash == self._held_out else "train"
            self._builders[split].add_document(encoded.tokens[start:end], [length])
            facts[f"{split}_documents"] += 1
            facts[f"{split}_tokens"] += length
            self._num_documents += 1
            self.smallest_hash = text_hash if self.smallest_hash is None else min(self.smallest_hash, text_hash)

    @property
    def needs_another_round(self) -> bool:
        """Whether no document fell to validation though there are two or more: too few for the hash to hit one."""
        return self._num_documents > 1 and not any(facts["valid_documents"] for facts in self.sources.values())

    def finish(self) -> dict[str, int]:
        """Write the indices; a pair without documents is removed. Return the language's figures."""
        total = {key: sum(facts[key] for facts in self.sources.values()) for key in next(iter(self.sources.values()))}
        for split, builder in self._builders.items():
            prefix = self._folder / prefix_name(self._language, split)
            builder.finalize(f"{prefix}.idx")
            if not total[f"{split}_documents"]:
                Path(f"{prefix}.bin").unlink()
                Path(f"{prefix}.idx").unlink()
        for facts in (*self.sources.values(), total):
            for kind in ("documents", "tokens"):
                facts[kind] = sum(facts[f"{split}_{kind}"] for split in SPLITS)
        return total
