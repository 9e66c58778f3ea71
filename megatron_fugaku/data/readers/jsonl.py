"""JSONL: one document per line, its text under ``text``."""

from __future__ import annotations

import json
from collections.abc import Iterator

from megatron_fugaku.data.readers.errors import Unreadable


def read_jsonl(text: str) -> Iterator[tuple[str, str]]:
    """(line number or the record's own id, text) of every line.

    Raises:
        Unreadable: a line is not a JSON object with a string ``text``.
    """
    for number, line in enumerate(text.split("\n")):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            yield str(record.get("id", number)), _text_of(record)
        except (json.JSONDecodeError, AttributeError, KeyError) as error:
            raise Unreadable("a line is not a JSON object with a text") from error


def _text_of(record: dict) -> str:
    text = record["text"]
    if not isinstance(text, str):
        raise KeyError("text")
    return text
