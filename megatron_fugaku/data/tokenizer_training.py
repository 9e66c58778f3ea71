"""The tokenizer stage: a SentencePiece unigram model learnt from a sample of the corpus.

Unigram with byte fallback follows T. Kudo, "Subword Regularization" (ACL 2018) and the llm-jp tokenizers that
Fugaku-LLM used: no normalisation, single digits. Line ends are left to byte fallback, where they are one id
(``<0x0A>``); runs of spaces become pieces of their own, so that indentation is short.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from megatron_fugaku.data.progress import Progress
from megatron_fugaku.data.recipe import TokenizerRecipe
from megatron_fugaku.data.stage import StageRecord, building, find_change, finish, hash_settings, load_record
from megatron_fugaku.errors import DataError

FORMAT = 1
MODEL_NAME, VOCAB_NAME = "tokenizer.model", "tokenizer.vocab"
MAX_LINE_BYTES = 4000
"""SentencePiece skips lines over its ``max_sentence_length`` without a word; longer ones are cut before."""
UNK, BOS, EOS, PAD = range(4)


def build_tokenizer(
    recipe: TokenizerRecipe,
    corpus: Path,
    record: StageRecord,
    weights: Mapping[str, float | None],
    folder: Path,
    progress: Progress,
) -> tuple[StageRecord, bool]:
    """Train into ``folder`` (``tokenizer.model``, ``tokenizer.vocab``), or reuse what is there.

    Args:
        corpus: the corpus stage's folder, ``record`` its record.
        weights: language → weight in the sample; None for all: by bytes of text.

    Returns:
        The stage's record, and whether it was reused.

    Raises:
        DataError: the vocabulary is too large for the text.
    """
    settings = hash_settings(format=FORMAT, recipe=recipe.model_dump(mode="json"), weights=dict(weights))
    inputs = {name: file.sha256 for name, file in record.files.items() if name.endswith(".jsonl")}
    old = load_record(folder)
    if old is not None and old.settings == settings and old.inputs == inputs and find_change(folder, old) is None:
        return old, True
    files: dict[str, list[Path]] = {}
    for name, facts in record.facts["sources"].items():
        if facts["documents"]:
            files.setdefault(facts["language"], []).append(corpus / f"{name}.jsonl")
    with progress.task("tokenizer: sampling", len(files), "languages") as ticker:
        sample: list[str] = []
        sampled_bytes = {}
        for language, budget in share_budget(recipe.sample_bytes, record.facts["sources"], weights).items():
            lines = sample_lines(files[language], budget, recipe.seed)
            sampled_bytes[language] = sum(len(line.encode("utf-8")) for line in lines)
            sample += lines
            ticker.advance(1)
    total = sum(sampled_bytes.values())
    progress.say(f"tokenizer: learning {recipe.vocab_size:,} pieces from {total / 1e6:.1f} MB of text")
    with building(folder) as partial:
        model = _train_ticking(sample, recipe, progress)
        (partial / MODEL_NAME).write_bytes(model)
        (partial / VOCAB_NAME).write_text(_vocabulary(model), encoding="utf-8")
        facts = {"vocab_size": recipe.vocab_size, "sampled_bytes": sampled_bytes}
        return finish(partial, settings, inputs, facts), False


def share_budget(total_bytes: int, sources: Mapping[str, dict], weights: Mapping[str, float | None]) -> dict[str, int]:
    """Language → bytes of the sample: by weight (or by size), what a small language cannot fill goes to the others."""
    available: dict[str, int] = {}
    for facts in sources.values():
        if facts["documents"]:
            available[facts["language"]] = available.get(facts["language"], 0) + facts["bytes"]
    share = {language: weights.get(language) or float(size) for language, size in available.items()}
    result: dict[str, int] = {}
    left, open_languages = total_bytes, set(available)
    while open_languages:
        scale = left / sum(share[language] for language in open_languages)
        full = {language for language in open_languages if available[language] <= share[language] * scale}
        if not full:
            result |= {language: int(share[language] * scale) for language in open_languages}
            break
        result |= {language: available[language] for language in full}
        left -= sum(available[language] for language in full)
        open_languages -= full
    return dict(sorted(result.items()))


def sample_lines(files: Sequence[Path], max_bytes: int, seed: int) -> list[str]:
    """Lines of a seeded choice of documents, about ``max_bytes`` in all, in corpus order."""
    salt = seed.to_bytes(8, "little", signed=True)
    order = []
    for index, path in enumerate(files):
        with path.open("rb") as lines:
            position = 0
            for line in lines:
                order.append((hashlib.blake2b(line, key=salt, digest_size=8).digest(), index, position, len(line)))
                position += len(line)
    chosen: list[tuple[int, int, list[str]]] = []
    left = max_bytes
    for _, index, position, length in sorted(order):
        with files[index].open("rb") as file:
            file.seek(position)
            text = json.loads(file.read(length))["text"]
        lines = []
        for line in split_lines(text):
            left -= len(line.encode("utf-8"))
            if left < 0:
                break
            lines.append(line)
        chosen.append((index, position, lines))
        if left <= 0:
            break
    return [line for _, _, lines in sorted(chosen) for line in lines]


def split_lines(text: str) -> Iterator[str]:
    """Lines of ``text`` that are not blank, cut to at most :data:`MAX_LINE_BYTES`, after a space or 。 if it can be."""
    max_characters = MAX_LINE_BYTES // 4  # UTF-8 has at most four bytes a character
    for line in text.split("\n"):
        while len(line) > max_characters:
            cut = max((match.end() for match in re.finditer("[ 。]", line[:max_characters])), default=max_characters)
            yield line[:cut]
            line = line[cut:]
        if line.strip():
            yield line


def train_tokenizer(lines: Sequence[str], recipe: TokenizerRecipe) -> bytes:
    """Train on ``lines`` and return the serialized model; the same lines and recipe give the same bytes.

    Raises:
        DataError: the lines do not hold enough different pieces for ``vocab_size``.
    """
    import sentencepiece

    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=out,
            model_type="unigram",
            vocab_size=recipe.vocab_size,
            hard_vocab_limit=True,
            character_coverage=recipe.character_coverage,
            byte_fallback=True,
            normalization_rule_name=recipe.normalization,
            remove_extra_whitespaces=False,
            add_dummy_prefix=recipe.add_dummy_prefix,
            allow_whitespace_only_pieces=True,
            split_digits=recipe.split_digits,
            max_sentencepiece_length=recipe.max_piece_length,
            max_sentence_length=MAX_LINE_BYTES + 4,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            num_threads=recipe.num_threads,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_id=PAD,
            unk_surface="\ufffd",
            user_defined_symbols=list(recipe.user_defined_symbols),
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise _explain(error, recipe, lines) from error
    return out.getvalue()


def _train_ticking(lines: Sequence[str], recipe: TokenizerRecipe, progress: Progress) -> bytes:
    """:func:`train_tokenizer`, which says nothing for a minute, in a thread, so that this one can count the seconds."""
    done: Future[bytes] = Future()

    def train() -> None:
        try:
            done.set_result(train_tokenizer(lines, recipe))
        except BaseException as error:
            done.set_exception(error)

    with progress.task("tokenizer: learning", None, "seconds") as ticker:
        threading.Thread(target=train, daemon=True).start()  # daemon: an interrupt need not wait for it
        while True:
            try:
                return done.result(timeout=1.0)
            except TimeoutError:
                if done.done():
                    raise
                ticker.advance(1)


def _explain(error: Exception, recipe: TokenizerRecipe, lines: Sequence[str]) -> DataError:
    text = " ".join(str(error).split())
    size = sum(len(line.encode("utf-8")) for line in lines)
    if match := re.search(r"set it to a value <= (\d+)", text):
        return DataError(
            f"vocab_size {recipe.vocab_size} is too large for {size:,} bytes of text",
            f"they hold no more than {match[1]} pieces",
            f"set tokenizer.vocab_size to at most {match[1]}, or give more text",
            "tokenizer.vocab_size",
        )
    if match := re.search(r"Vocabulary size is smaller than required_chars. (\d+) vs (\d+)", text):
        return DataError(
            f"vocab_size {recipe.vocab_size} is too small for {size:,} bytes of text",
            f"{match[2]} pieces are needed for its characters alone",
            f"raise tokenizer.vocab_size above {match[2]}, or lower tokenizer.character_coverage",
            "tokenizer.vocab_size",
        )
    return DataError(
        f"SentencePiece could not learn {recipe.vocab_size} pieces from {len(lines):,} lines: {text}",
        "there is no tokenizer without it",
        "give more text or another vocab_size",
        "tokenizer",
    )


def _vocabulary(model: bytes) -> str:
    """One line per id: piece and score, as SentencePiece's own ``.vocab``."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokens = range(processor.get_piece_size())
    return "".join(f"{processor.id_to_piece(token)}\t{processor.get_score(token):g}\n" for token in tokens)
