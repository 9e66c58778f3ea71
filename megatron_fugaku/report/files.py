"""Reading JSON lines that a crash may have cut, and writing files that a crash cannot cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from megatron_fugaku.atomic_file import write_text_atomically
from megatron_fugaku.errors import DataError


def read_json_lines(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    """Read a file of one JSON object a line.

    A process that dies while it writes leaves half a line: at the end of the file, or in front of the first line of
    the run that went on later. Such a piece is left out and named in a note.

    Returns:
        ``(line number, object)`` pairs, and the notes.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "the report is made from it",
                        "check that the file exists and that you may read it", str(path)) from error
    records, notes = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _parse_object(line)
        if record is None:
            notes.append(f"Line {number} of {path.name} is cut off; it was left out.")
            # A resumed run may have appended its first line to the half one.
            record = next((found for found in (_parse_object(line[at:]) for at in _inner_starts(line)) if found), None)
        if record is not None:
            records.append((number, record))
    return records, notes


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _inner_starts(line: str) -> list[int]:
    return [at for at in range(1, len(line)) if line.startswith('{"', at)]


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all.

    Raises:
        DataError: the folder does not exist or cannot be written.
    """
    try:
        write_text_atomically(path, text)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}", "the result would be lost",
                        "give a file name in a folder that exists and that you may write to", str(path)) from error
