"""Cleaning keeps text and loses what is not: control characters, other languages, English left in translations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.data.clean import clean_text, drop_foreign_paragraphs, japanese_share, reason_to_drop


def test_clean_text() -> None:
    assert clean_text("a\r\nb \x00\u200b\u00ad\n\n\n\nc\t\n", is_code=False) == "a\nb\n\nc\n"
    assert clean_text("\n\tif x:  \n\n\n\n\t\treturn\x0c\n", is_code=True) == "\tif x:\n\n\n\n\t\treturn\n"


@given(st.text(), st.booleans())
def test_cleaning_twice_changes_nothing(text: str, is_code: bool) -> None:
    once = clean_text(text, is_code)
    assert clean_text(once, is_code) == once


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("日本語の文章です。" * 9, "ja", None),
        ("ls コマンドは ls -l のように使う。" * 9, "ja", None),
        ("only English words here. " * 9, "ja", "not in its language"),
        ("漢字仮名無文章中国語文" * 9, "ja", "not in its language"),
        ("only English words here. " * 9, "en", None),
        ("日本語の文章です。" * 9, "en", "not in its language"),
        ("短い", "ja", "too short"),
        ("abc\ufffd" * 99, "en", "damaged characters"),
        ("abc\ud800" * 99, "en", "lone surrogates"),
    ],
)
def test_reason_to_drop(text: str, language: str, reason: str | None) -> None:
    assert reason_to_drop(text, language, 50) == reason


def test_foreign_paragraphs() -> None:
    kept = [
        "これは訳です。",
        "int openat(int fd, const char *path, int flags);",
        "O_APPEND",
        "    In the code block it stays.",
        "ls [OPTION]... [FILE]...",
    ]
    dropped = ["The open() system call opens the file specified by pathname.", "- Choose Tools and then Options."]
    assert drop_foreign_paragraphs("\n".join([*kept, *dropped])) == "\n".join(kept)


def test_japanese_share() -> None:
    assert japanese_share("") == 0
    assert japanese_share("あab") == pytest.approx(1 / 3)
