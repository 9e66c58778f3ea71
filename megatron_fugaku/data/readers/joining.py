"""Joining source lines into running text: Japanese has no space where a source line happens to end."""

from __future__ import annotations

import re

JAPANESE = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
"""Character class body: CJK punctuation, kana, kanji, full-width forms (Unicode blocks)."""

_BETWEEN_JAPANESE = re.compile(f"(?<=[{JAPANESE}])[ \t]*\n[ \t\n]*(?=[{JAPANESE}])")
_SPACES = re.compile(r"[ \t\n\r\f\v\u00a0]+")


def collapse(text: str) -> str:
    """Make one line of ``text``: line ends between Japanese characters vanish, other white space becomes one space."""
    return _SPACES.sub(" ", _BETWEEN_JAPANESE.sub("", text))
