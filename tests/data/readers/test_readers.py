"""The readers' front, and the formats that need few lines: PO, JSONL, plain text, code."""

from __future__ import annotations

import pytest

from megatron_fugaku.data.readers import Unreadable, read_documents
from megatron_fugaku.data.recipe import PathSource

PO = """msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "Open file"
msgstr "ファイルを"
"開く"

#, fuzzy
msgid "Close"
msgstr "とじる?"

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d 個のファイル"

msgid "untranslated"
msgstr ""

#~ msgid "old"
#~ msgstr "古い"
"""


def read(reader: str, data: bytes, **settings) -> list[tuple[str, str]]:
    source = PathSource(
        name="s", kind="path", path=".", reader=reader, language="ja", licence="CC0-1.0", **settings
    )
    return list(read_documents(source, data))


def test_po() -> None:
    assert read("po", PO.encode()) == [("", "ファイルを開く\n\n%d 個のファイル")]


def test_jsonl() -> None:
    assert read("jsonl", '{"text": "あ"}\n\n{"text": "い", "id": "x"}\n'.encode()) == [("0", "あ"), ("x", "い")]
    for bad in (b'{"text": 1}', b"[1]", b'{"text": '):
        with pytest.raises(Unreadable, match="not a JSON object"):
            read("jsonl", bad)


def test_code_keeps_every_space_and_prose_does_not() -> None:
    text = "if x:\n\treturn  1   # a\n"
    assert read("code", text.encode()) == [("", text)]
    assert read("text", b"  a   b\n") == [("", "  a b\n")]


def test_encoding() -> None:
    assert read("text", "日本語".encode("euc-jp"), encoding="euc-jp") == [("", "日本語")]
    assert read("text", b"\xef\xbb\xbfa") == [("", "a")]
    with pytest.raises(Unreadable, match="not utf-8"):
        read("text", b"\xff\xfe")
