"""HTML pages to plain text: running paragraphs, list items with a mark, table rows with tabs, ``pre`` as it is."""

from __future__ import annotations

from collections.abc import Sequence

from megatron_fugaku.data.readers.errors import Unreadable
from megatron_fugaku.data.readers.joining import collapse

DROPPED_TAGS = frozenset(
    ("script", "style", "nav", "header", "footer", "aside", "noscript", "form", "button", "svg", "head", "template",
     "iframe", "object", "input", "select")
)  # fmt: skip
DROPPED = ("//*[@role='navigation']", "//a[contains(@class, 'headerlink')]", "//comment()")
PARAGRAPHS = frozenset(
    ("p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "blockquote", "figure", "section", "article",
     "pre")
)  # fmt: skip
LINES = frozenset(
    ("div", "li", "dt", "dd", "tr", "br", "hr", "caption", "center", "address", "main", "body", "figcaption", "thead",
     "tbody", "details", "summary")
)  # fmt: skip
CELLS = frozenset(("td", "th"))


class _Writer:
    """Collects words into lines and lines into paragraphs."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.line: list[str] = []
        self.mark = ""

    def add(self, text: str) -> None:
        self.line.append(text)

    def end_line(self) -> None:
        words = "\t".join(cell for part in "".join(self.line).split("\0") if (cell := collapse(part).strip()))
        self.line.clear()
        if words:
            self.parts.append(self.mark + words + "\n")
            self.mark = ""

    def end_paragraph(self) -> None:
        self.end_line()
        if self.parts and self.parts[-1] != "\n":
            self.parts.append("\n")

    def add_verbatim(self, text: str) -> None:
        self.end_paragraph()
        if text.strip():
            self.parts.append(text.strip("\n").rstrip() + "\n")
            self.parts.append("\n")


def read_html(text: str, content: str | None = None, drop: Sequence[str] = ()) -> str:
    """The text of a page.

    Args:
        content: XPath of the elements to read; None reads the body.
        drop: XPaths of elements to leave out, besides :data:`DROPPED_TAGS` and :data:`DROPPED`.

    Raises:
        Unreadable: nothing matches ``content``, or the page is empty.
    """
    from lxml import etree, html

    try:
        page = html.document_fromstring(text.encode("utf-8"), parser=html.HTMLParser(encoding="utf-8"))
    except (etree.ParserError, ValueError) as error:
        raise Unreadable("empty page") from error
    for path in (*DROPPED, *drop):
        for element in page.xpath(path):
            if element.getparent() is not None:  # a comment may stand beside the root
                element.drop_tree()
    roots = page.xpath(content) if content else page.xpath("//body") or [page]
    if not roots:
        raise Unreadable("page without content element")
    writer = _Writer()
    for root in roots:
        _write(root, writer)
        writer.end_paragraph()
    return "".join(writer.parts)


def _write(root, writer: _Writer) -> None:
    from lxml import etree

    in_row = 0
    items: list[int | None] = []
    walker = etree.iterwalk(root, events=("start", "end"))
    for event, element in walker:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if tag in DROPPED_TAGS or not tag:
                walker.skip_subtree()
                continue
            if tag == "pre" and not in_row:
                writer.add_verbatim("".join(element.itertext()))
                walker.skip_subtree()
                continue
            if tag in ("ul", "ol"):
                items.append(0 if tag == "ol" else None)
            _separate(tag, writer, in_row)
            if tag == "li" and not in_row and items:
                if items[-1] is not None:
                    items[-1] += 1
                writer.mark = "- " if items[-1] is None else f"{items[-1]}. "
            in_row += tag == "tr"
            if element.text:
                writer.add(element.text)
            continue
        in_row -= tag == "tr"
        if tag in ("ul", "ol") and items:
            items.pop()
        if tag in CELLS:
            writer.add("\0")
        elif tag != "br":
            _separate(tag, writer, in_row)
        if element.tail and element is not root:
            writer.add(element.tail)


def _separate(tag: str, writer: _Writer, in_row: int) -> None:
    if in_row and tag != "tr":
        if tag in PARAGRAPHS or tag in LINES:
            writer.add(" ")
    elif tag in PARAGRAPHS:
        writer.end_paragraph()
    elif tag in LINES:
        writer.end_line()
