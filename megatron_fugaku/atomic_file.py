"""Text files that are the old one or the whole new one, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 under another name in the same folder, then rename it to ``path``.

    Raises:
        OSError: the folder does not exist or cannot be written; ``path`` is as it was.
        UnicodeEncodeError: ``text`` holds lone surrogates.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
