"""The corpus stage: sources → clean, deduplicated, budgeted JSONL, one file per source.

A line is ``{"id", "language", "licence", "source", "text"}``. Documents keep the order of their file names; where
a byte budget binds, the documents kept are those of the smallest seeded hash, so that a budget takes a sample of
all of a source and not its beginning.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from megatron_fugaku.data.clean import clean_text, drop_foreign_paragraphs, reason_to_drop
from megatron_fugaku.data.progress import Progress
from megatron_fugaku.data.readers import Unreadable, read_documents
from megatron_fugaku.data.recipe import CorpusRecipe, PathSource, Source
from megatron_fugaku.data.sources import SourceFiles, SourceMissing, open_source
from megatron_fugaku.data.stage import StageRecord, building, find_change, finish, hash_settings, load_record
from megatron_fugaku.data.workers import WorkerPool
from megatron_fugaku.errors import DataError

FORMAT = 1
"""Raised when the readers or the cleaning change, so that a corpus made by older ones is made anew."""
BATCH_BYTES = 1 << 20


@dataclass
class _Kept:
    """Documents of one source, as (text hash, bytes of text); the texts lie in a file."""

    source: Source
    path: Path
    documents: list[tuple[bytes, int]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    num_read: int = 0


def build_corpus(
    recipe: CorpusRecipe, folder: Path, cache: Path, pool: WorkerPool, progress: Progress
) -> tuple[StageRecord, bool]:
    """Build ``folder`` (``<source>.jsonl``, ``copyright/<source>.txt``), or reuse it.

    Returns:
        Its record, and whether it was reused. ``facts`` holds ``sources`` (documents, bytes, licence, provenance,
        dropped by reason) and ``missing`` (source → reason).

    Raises:
        DataError: a required source is missing, or no document is left.
    """
    # Where a folder lies does not matter, what is in it does: that is in the inputs.
    shape = recipe.model_dump(mode="json", exclude={"sources": {"__all__": {"path"}}})
    settings = hash_settings(format=FORMAT, recipe=shape)
    opened, missing = _open_sources(recipe, cache, progress)
    old = load_record(folder)
    inputs = {name: source.digest for name, source in opened.items()}
    if old is not None and old.settings == settings and _is_current(old, inputs, missing):
        changed = find_change(folder, old)
        if changed is None:
            for name in sorted(set(missing) & set(old.inputs)):
                progress.say(f"source {name} is not to be had now ({missing[name]}); the corpus made with it is kept")
            return old, True
        progress.say(f"corpus: {changed} is missing or changed; the corpus is made anew")
    with building(folder) as partial:
        kept = []
        for source in recipe.sources:
            if source.name not in opened:
                continue
            try:
                kept.append(_read_source(source, opened[source.name], recipe, partial, pool, progress))
            except SourceMissing as reason:
                _note_missing(source, str(reason), missing, progress)
                del inputs[source.name]
                (partial / f"{source.name}.jsonl").unlink(missing_ok=True)
        facts = {"sources": _select(kept, recipe, opened), "missing": missing}
        if not any(source["documents"] for source in facts["sources"].values()):
            raise DataError(
                f"no document is left of {len(recipe.sources)} sources",
                "an empty corpus trains nothing; missing: "
                + ("; ".join(f"{name}: {reason}" for name, reason in missing.items()) or "none"),
                "check include, language and min_characters of the sources",
                "corpus.sources",
            )
        return finish(partial, settings, inputs, facts), False


def _is_current(old: StageRecord, inputs: dict[str, str], missing: dict[str, str]) -> bool:
    """A source that cannot be had now does not undo a corpus that was made with it."""
    return all(old.inputs.get(name) == digest for name, digest in inputs.items()) and set(old.inputs) <= (
        set(inputs) | set(missing)
    )


def _open_sources(recipe, cache, progress) -> tuple[dict[str, SourceFiles], dict[str, str]]:
    opened: dict[str, SourceFiles] = {}
    missing: dict[str, str] = {}
    for source in recipe.sources:
        try:
            opened[source.name] = open_source(source, cache, progress.say)
        except SourceMissing as reason:
            _note_missing(source, str(reason), missing, progress)
    return opened, missing


def _note_missing(source: Source, reason: str, missing: dict[str, str], progress: Progress) -> None:
    if source.required:
        key = f"corpus.sources.{source.name}" + (".path" if isinstance(source, PathSource) else "")
        raise DataError(
            f"source {source.name}: {reason}",
            "the recipe requires it",
            "give what is missing, or set 'required: false' to go on without it",
            key,
        )
    missing[source.name] = reason
    progress.say(f"source {source.name} is left out: {reason}")


def read_batch(task: tuple[Source, int, list[tuple[str, bytes]]]) -> list[tuple[str, str | None, str]]:
    """Read and clean some files: (document name, text or None, reason to drop it or empty). Runs in a worker."""
    source, min_characters, files = task
    results: list[tuple[str, str | None, str]] = []
    for name, data in files:
        try:
            for part, text in read_documents(source, data):
                if source.drop_foreign_paragraphs:
                    text = drop_foreign_paragraphs(text)
                text = clean_text(text, is_code=source.language == "code")
                reason = reason_to_drop(text, source.language, min_characters)
                results.append((f"{name}#{part}" if part else name, None if reason else text, reason or ""))
        except Unreadable as reason:
            results.append((name, None, str(reason)))
    return results


def _batches(source: Source, min_characters: int, files: Iterable[tuple[str, bytes]]) -> Iterator[tuple]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for name, data in files:
        batch.append((name, data))
        size += len(data)
        if size >= BATCH_BYTES:
            yield source, min_characters, batch
            batch, size = [], 0
    if batch:
        yield source, min_characters, batch


def _read_source(source, files: SourceFiles, recipe, partial: Path, pool: WorkerPool, progress: Progress) -> _Kept:
    kept = _Kept(source, partial / f"{source.name}.jsonl")
    contents = files.read()
    with (
        progress.task(f"corpus: {source.name}", None, "documents read") as ticker,
        kept.path.open("w", encoding="utf-8") as out,
    ):
        for results in pool.map(read_batch, _batches(source, recipe.min_characters, contents.files)):
            for name, text, reason in results:
                kept.num_read += 1
                if text is None:
                    kept.dropped[reason] += 1
                    continue
                raw = text.encode("utf-8")
                kept.documents.append((hashlib.sha256(raw).digest(), len(raw)))
                record = {
                    "id": f"{source.name}/{name}",
                    "language": source.language,
                    "licence": source.licence,
                    "source": source.name,
                    "text": text,
                }
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            ticker.advance(len(results))
    if contents.copyright:
        (partial / "copyright").mkdir(exist_ok=True)
        (partial / "copyright" / f"{source.name}.txt").write_text(contents.copyright, encoding="utf-8")
    return kept


def _select(kept: list[_Kept], recipe: CorpusRecipe, opened: dict[str, SourceFiles]) -> dict[str, dict]:
    """Drop duplicates, then what is over the budgets; rewrite the files that lose lines; return the facts."""
    seen: set[bytes] = set()
    chosen: dict[str, list[bool]] = {}
    for source in kept:
        flags = []
        for digest, _ in source.documents:
            flags.append(digest not in seen)
            seen.add(digest)
        source.dropped["duplicate"] += flags.count(False)
        chosen[source.source.name] = flags
        _apply_budget([source], chosen, source.source.max_bytes, recipe.seed)
    for language, budget in recipe.languages.items():
        group = [source for source in kept if source.source.language == language]
        _apply_budget(group, chosen, budget.max_bytes, recipe.seed)
    facts = {}
    for source in kept:
        flags = chosen[source.source.name]
        if not all(flags):
            _filter_lines(source.path, flags)
        facts[source.source.name] = {
            "kind": source.source.kind,
            "language": source.source.language,
            "licence": source.source.licence,
            "read": source.num_read,
            "documents": sum(flags),
            "bytes": sum(size for (_, size), flag in zip(source.documents, flags, strict=True) if flag),
            "dropped": {reason: count for reason, count in sorted(source.dropped.items()) if count},
            "provenance": opened[source.source.name].provenance,
        }
    return facts


def _apply_budget(group: list[_Kept], chosen: dict[str, list[bool]], max_bytes: int | None, seed: int) -> None:
    """Clear the flags of the documents over ``max_bytes``, those of the largest seeded hash first."""
    if max_bytes is None:
        return
    salt = seed.to_bytes(8, "little", signed=True)
    order = sorted(
        (hashlib.blake2b(digest, key=salt, digest_size=8).digest(), source.source.name, index, size)
        for source in group
        for index, (digest, size) in enumerate(source.documents)
        if chosen[source.source.name][index]
    )
    by_name = {source.source.name: source for source in group}
    total = 0
    for _, name, index, size in order:
        if total + size > max_bytes:
            chosen[name][index] = False
            by_name[name].dropped["over budget"] += 1
        else:
            total += size


def _filter_lines(path: Path, flags: list[bool]) -> None:
    temporary = path.with_suffix(".filtered")
    with path.open("rb") as lines, temporary.open("wb") as out:
        for line, flag in zip(lines, flags, strict=True):
            if flag:
                out.write(line)
    temporary.replace(path)
