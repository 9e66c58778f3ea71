"""What is kept of a document: whole Unicode, enough text, the language it is declared to be in."""

from __future__ import annotations

import re

from megatron_fugaku.data.readers.joining import JAPANESE

MIN_JAPANESE_SHARE = 0.2
"""Of a Japanese document's letters, at least this share is kana or kanji (commands and options are Latin)."""
MAX_JAPANESE_SHARE = 0.05
"""Of an English, code or math document's letters, at most this share is."""
MAX_REPLACEMENT_SHARE = 0.001
"""More U+FFFD than this means that the file was decoded wrongly once before."""

_KANA = re.compile("[\u3040-\u30ff]")
_JAPANESE = re.compile(f"[{JAPANESE}]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2060\ufeff\ufdd0-\ufdef\ufffe\uffff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_TRAILING = re.compile(r"[ \t\u3000]+$", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n{3,}")
_LIST_MARK = re.compile(r"^(?:[-•*]|\d+[.)]) ")
_ENGLISH_WORD = re.compile(r"(?<![\w/.-])[A-Za-z][a-z']*(?![\w/])")


def clean_text(text: str, is_code: bool) -> str:
    """Normalise line ends, remove control characters and invisible marks, trailing spaces and piled-up empty lines.

    Code keeps form feeds out too, but every space and tab inside its lines, and its empty lines.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROLS.sub("", text)
    text = _TRAILING.sub("", text)
    if is_code:
        return text.strip("\n") + "\n"
    return _EMPTY_LINES.sub("\n\n", text).strip() + "\n"


def japanese_share(text: str) -> float:
    """Share of kana, kanji and full-width characters among the letters of ``text``; 0 where there is no letter."""
    japanese = len(_JAPANESE.findall(text))
    letters = japanese + sum(1 for character in _JAPANESE.sub("", text) if character.isalpha())
    return japanese / letters if letters else 0.0


def is_english_prose(paragraph: str) -> bool:
    """Whether a paragraph is a sentence of English with next to no Japanese in it, not a declaration or a command."""
    text = _LIST_MARK.sub("", paragraph)
    if not text[:1].isupper() or text.endswith((";", "{", "}", "\\")) or "\t" in text:
        return False
    words = text.split()
    if len(words) < 4 or len(_JAPANESE.findall(text)) > 0.1 * len(text):
        return False
    return len(_ENGLISH_WORD.findall(text)) >= 0.6 * len(words)


def drop_foreign_paragraphs(text: str) -> str:
    """``text`` without its lines of English prose (:func:`is_english_prose`); indented lines are code and stay."""
    return "\n".join(line for line in text.split("\n") if line.startswith((" ", "\t")) or not is_english_prose(line))


def reason_to_drop(text: str, language: str, min_characters: int) -> str | None:
    """A short reason why a cleaned document is not kept, or None."""
    if len(text) < min_characters:
        return "too short"
    if text.count("\ufffd") > MAX_REPLACEMENT_SHARE * len(text):
        return "damaged characters"
    if _SURROGATES.search(text):
        return "lone surrogates"
    share = japanese_share(text)
    if language == "ja":
        if share < MIN_JAPANESE_SHARE or not _KANA.search(text):
            return "not in its language"
    elif share > MAX_JAPANESE_SHARE:
        return "not in its language"
    return None
