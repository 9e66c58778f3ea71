"""Plain text and source code."""

from __future__ import annotations

import re

_INNER_SPACES = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")


def read_text(text: str) -> str:
    """Prose: runs of spaces inside a line become one; line ends and indentation stay."""
    return _INNER_SPACES.sub(" ", text)


def read_code(text: str) -> str:
    """Source code, as it is: every space and tab stays."""
    return text
