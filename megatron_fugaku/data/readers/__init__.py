"""Readers turn the bytes of one file into the texts of documents, one module per format.

A reader gives (part, text) pairs: ``part`` is empty where a file is one document. A reader that cannot give
clean text raises :class:`Unreadable` with a short reason, which is counted in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable

from megatron_fugaku.data.readers.errors import Unreadable
from megatron_fugaku.data.recipe import Source

__all__ = ["Unreadable", "read_documents"]


def read_documents(source: Source, data: bytes) -> Iterable[tuple[str, str]]:
    """(part, text) of every document in one file of ``source``.

    Raises:
        Unreadable: the file is not text of this kind.
    """
    from megatron_fugaku.data.readers import html, jsonl, man, plain, po

    text = _decode(data, source.encoding)
    match source.reader:
        case "man":
            return [("", man.read_man(text))]
        case "html":
            return [("", html.read_html(text, source.html.content, source.html.drop))]
        case "po":
            return [("", po.read_po(text))]
        case "jsonl":
            return jsonl.read_jsonl(text)
        case "text":
            return [("", plain.read_text(text))]
        case "code":
            return [("", plain.read_code(text))]


def _decode(data: bytes, encoding: str) -> str:
    try:
        return data.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"not {encoding}") from error
