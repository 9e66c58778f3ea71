"""Runs the stages corpus, tokenizer and tokens, and writes the manifest."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from megatron_fugaku import __version__
from megatron_fugaku.atomic_file import write_text_atomically
from megatron_fugaku.data.codec import Codec
from megatron_fugaku.data.corpus import build_corpus
from megatron_fugaku.data.manifest import LanguageFacts, Manifest, SourceFacts, TokenizerFacts
from megatron_fugaku.data.progress import Progress
from megatron_fugaku.data.recipe import Recipe
from megatron_fugaku.data.stage import MANIFEST, StageRecord, find_change, load_record, lock_folder, storage_errors
from megatron_fugaku.data.tokenizer_training import MODEL_NAME, build_tokenizer
from megatron_fugaku.data.tokens import SPLITS, build_tokens, prefix_name
from megatron_fugaku.data.workers import WorkerPool
from megatron_fugaku.errors import DataError

STAGES = ("corpus", "tokenizer", "tokens")
_VERSIONS_OF = ("lxml", "megatron-core", "numpy", "polib", "sentencepiece", "torch")


def run_pipeline(
    recipe: Recipe,
    output: Path,
    stages: Sequence[str] = STAGES,
    *,
    cache: Path,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest | None:
    """Run ``stages`` (any order given, always run in that of :data:`STAGES`) into ``output``.

    Returns:
        The manifest, once all three stages have been run, now or before; else None.

    Raises:
        DataError: a stage failed, or one that is left out has not been run before.
    """
    progress = progress or Progress()
    corpus, tokenizer, tokens = (output / name for name in STAGES)
    weights = {language: budget.weight for language, budget in recipe.corpus.languages.items()}
    with lock_folder(output), WorkerPool(num_workers) as pool:
        records: dict[str, StageRecord] = {}
        for name in STAGES:
            if name not in stages:
                if any(STAGES.index(later) > STAGES.index(name) for later in stages):
                    records[name] = _require(output / name, name)
                elif (record := load_record(output / name)) is not None:
                    records[name] = record
                continue
            start_s = time.monotonic()
            if name == "corpus":
                record, reused = build_corpus(recipe.corpus, corpus, cache, pool, progress)
            elif name == "tokenizer":
                record, reused = build_tokenizer(
                    recipe.tokenizer, corpus, records["corpus"], weights, tokenizer, progress
                )
            else:
                record, reused = build_tokens(
                    recipe.tokens, corpus, records["corpus"], tokenizer, records["tokenizer"], tokens, pool, progress
                )
            records[name] = record
            what = "unchanged, reused" if reused else "done"
            progress.say(f"{name}: {what} in {time.monotonic() - start_s:.1f} s")
        if not _fit_together(records):
            return None
        manifest = build_manifest(recipe, output, records)
        text = manifest.model_dump_json(indent=1) + "\n"
        if not (output / MANIFEST).is_file() or (output / MANIFEST).read_text(encoding="utf-8") != text:
            with storage_errors(output / MANIFEST):
                write_text_atomically(output / MANIFEST, text)
            progress.say(f"manifest: {output / MANIFEST}")
        manifest._folder = output.absolute()
        return manifest


def _require(folder: Path, name: str) -> StageRecord:
    """The record of a stage that was run before and is still whole."""
    record = load_record(folder)
    changed = folder if record is None else find_change(folder, record)
    if changed is None:
        return record
    raise DataError(
        f"stage {name} has not been run in {folder.parent}" if record is None else f"{folder / changed} is changed",
        "the stages asked for read what it writes",
        f"add '{name}' to the stages, or name none to run them all",
        "mfugaku data",
    )


def _fit_together(records: Mapping[str, StageRecord]) -> bool:
    """Whether the three stages are there and each was made from the one before."""
    if set(records) != set(STAGES):
        return False
    corpus = {name: file.sha256 for name, file in records["corpus"].files.items() if name.endswith(".jsonl")}
    model = {MODEL_NAME: records["tokenizer"].files[MODEL_NAME].sha256}
    return records["tokenizer"].inputs == corpus and records["tokens"].inputs == corpus | model


def build_manifest(recipe: Recipe, output: Path, records: Mapping[str, StageRecord]) -> Manifest:
    """The manifest of three finished stages."""
    codec = Codec(output / "tokenizer" / MODEL_NAME)
    facts = records["tokens"].facts
    total = sum(counts["tokens"] for counts in facts["languages"].values())
    budgets = recipe.corpus.languages
    raw = {
        language: (budgets[language].weight if language in budgets else None) or counts["train_tokens"]
        for language, counts in facts["languages"].items()
    }
    weights = {language: weight / sum(raw.values()) for language, weight in raw.items()}
    languages = {
        language: LanguageFacts(**counts, share=counts["tokens"] / total, weight=weights[language])
        for language, counts in facts["languages"].items()
    }
    none = dict.fromkeys(next(iter(facts["sources"].values())), 0)
    sources = {}
    for name, source in records["corpus"].facts["sources"].items():
        counts = facts["sources"].get(name, none)
        sources[name] = SourceFacts(**{**source, **counts}, share=counts["tokens"] / total)
    blend = {
        split: [
            part
            for language, counts in facts["languages"].items()
            if counts[f"{split}_documents"]
            for part in (round(weights[language], 6), f"tokens/{prefix_name(language, split)}")
        ]
        for split in SPLITS
    }
    return Manifest(
        recipe=recipe.name,
        recipe_sha256=recipe.digest(),
        versions=_versions(),
        tokenizer=TokenizerFacts(
            path=f"tokenizer/{MODEL_NAME}",
            sha256=codec.sha256,
            vocab_size=codec.vocab_size,
            unk=codec.unk,
            bos=codec.bos,
            eos=codec.eos,
            pad=codec.pad,
        ),
        dtype=facts["dtype"],
        languages=languages,
        sources=sources,
        missing=records["corpus"].facts["missing"],
        blend=blend,
        files={f"{stage}/{name}": file for stage in STAGES for name, file in records[stage].files.items()},
    )


def _versions() -> dict[str, str]:
    versions = {"megatron-fugaku": __version__, "python": platform.python_version()}
    for name in _VERSIONS_OF:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def render_summary(manifest: Manifest) -> str:
    """A small table: language, documents, tokens, share, weight; and what is missing."""
    header = f"{'language':<10}{'documents':>12}{'tokens':>14}{'share':>9}{'blend':>9}"
    lines = [header, "-" * len(header)]
    for language, counts in sorted(manifest.languages.items(), key=lambda item: -item[1].tokens):
        lines.append(
            f"{language:<10}{counts.documents:>12,}{counts.tokens:>14,}{counts.share:>9.1%}{counts.weight:>9.1%}"
        )
    documents = sum(counts.documents for counts in manifest.languages.values())
    tokens = sum(counts.tokens for counts in manifest.languages.values())
    valid = sum(counts.valid_tokens for counts in manifest.languages.values())
    lines.append(f"{'all':<10}{documents:>12,}{tokens:>14,}{1:>9.1%}{1:>9.1%}   ({valid:,} held out)")
    lines += [f"left out: {name}: {reason}" for name, reason in sorted(manifest.missing.items())]
    return "\n".join(lines)
