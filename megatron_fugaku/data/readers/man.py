"""Manual pages (roff with the ``man`` macros, groff_man(7)) to plain text.

An own reader, because a formatter breaks, hyphenates and justifies lines for a screen, which leaves spaces and
line ends inside Japanese sentences. Pages in ``mdoc`` and pages that lean on macros unknown here are refused,
not guessed at.
"""

from __future__ import annotations

import re

from megatron_fugaku.data.readers.errors import Unreadable
from megatron_fugaku.data.readers.joining import collapse
from megatron_fugaku.data.readers.roff_escapes import CONTINUE, split_arguments, strip_comment, unescape

MAX_UNKNOWN_SHARE = 0.02
"""A page with more lines of unknown macros than this is refused: their text would be lost."""
MAX_EXPANSIONS = 20_000
"""Lines that a page's own macros may expand to; a page beyond it defines a loop."""

_FONTS = frozenset(("B", "I", "R", "SM", "SB", "CW", "C", "CR"))
_ALTERNATING = frozenset(("BR", "RB", "BI", "IB", "IR", "RI"))
_PARAGRAPHS = frozenset(("PP", "P", "LP", "HP", "Sp"))
_BREAKS = frozenset(("br", "sp", "RS", "RE", "in", "ti", "bp", "ne", "SY", "YS"))
_IGNORED = frozenset(
    ("AT", "DT", "HD", "IX", "PD", "TA", "UC", "ab", "ad", "af", "als", "asciify", "bd", "break", "c2", "cc", "ce",
     "cflags", "ch", "char", "chop", "close", "color", "cs", "cu", "defcolor", "device", "do", "ec", "em", "eo", "ev",
     "fam", "fchar", "fp", "ft", "hla", "hlm", "hw", "hy", "it", "length", "lf", "ll", "lt", "mk", "mso", "na", "nh",
     "nm", "nn", "nop", "nr", "ns", "nx", "open", "pc", "pdfhref", "pl", "po", "ps", "pso", "rchar", "return", "rm",
     "rn", "rr", "rs", "rt", "schar", "sh", "shift", "ss", "substring", "sy", "ta", "tm", "tr", "trf", "ul",
     "unformat", "vs", "warn", "wh", "write")
)  # fmt: skip
_REQUEST = re.compile(r"^[.'][ \t]*([^\s\\]*)[ \t]*(.*)$", re.DOTALL)
_NUMBER = re.compile(r"^(?:[-•*·○+o]|\(?[0-9A-Za-z]{1,2}[.)])$")


class _Page:
    """State of one page while its lines are read."""

    def __init__(self) -> None:
        self.paragraphs: list[str] = []
        self.words: list[str] = []
        self.expects_tag = False
        self.mark = ""
        self.filling = True
        self.strings = {"C+": "C++", "C`": '"', "C'": '"', "R": "®", "Tm": "™", "lq": "“", "rq": "”", "--": "-"}
        self.macros: dict[str, list[str]] = {}
        self.link = ""
        self.unknown = 0
        self.expansions = 0
        self.seen_title = False

    def add(self, text: str) -> None:
        """Add one output line of text."""
        text = unescape(text, self.strings)
        if self.expects_tag:
            self.expects_tag = False
            self.end_line()
            self._put(collapse(text.replace(CONTINUE, "")).strip() + "\n")
            return
        if not self.filling:
            self.end_line()
            self._put(self.mark + text.replace(CONTINUE, "").rstrip() + "\n")
            self.mark = ""
        elif not text.strip():
            self.end_paragraph()
        else:
            if text.startswith((" ", "\t")):
                self.end_line()
            self.words.append(text)

    def end_line(self) -> None:
        """End the running line."""
        if self.words:
            text = collapse("\n".join(self.words).replace(CONTINUE + "\n", "").replace(CONTINUE, "")).strip()
            self.words.clear()
            if text:
                self._put(self.mark + text + "\n")
                self.mark = ""

    def end_paragraph(self) -> None:
        """End the running paragraph; the next text stands after an empty line."""
        self.end_line()
        if self.paragraphs and not self.paragraphs[-1].endswith("\n\n") and self.paragraphs[-1] != "\n":
            self._put("\n")

    def _put(self, text: str) -> None:
        self.paragraphs.append(text)


def read_man(text: str) -> str:
    """The text of a manual page: headings, paragraphs, tags and their texts on lines of their own.

    Raises:
        Unreadable: the page is only a redirection, is written in mdoc, or uses too many unknown macros.
    """
    lines = re.sub(r"(?<!\\)((?:\\\\)*)\\\n", r"\1", text).split("\n")
    if any(line.startswith(".Dd") or line.startswith(".Sh ") for line in lines):
        raise Unreadable("mdoc page")
    page = _Page()
    _run(page, lines, 0)
    page.end_paragraph()
    if not page.seen_title:
        raise Unreadable("not a manual page")
    if page.unknown > max(3, MAX_UNKNOWN_SHARE * len(lines)):
        raise Unreadable("unknown macros")
    return "".join(page.paragraphs)


def _run(page: _Page, lines: list[str], depth: int) -> None:
    """Read ``lines`` into ``page``."""
    position = 0
    otherwise: list[bool] = []
    while position < len(lines):
        line = strip_comment(lines[position])
        position += 1
        match = _REQUEST.match(line)
        if match is None:
            if line.strip(" \\{}") or not line:
                page.add(line)
            continue
        name, rest = match[1], match[2]
        if name in ("if", "ie", "el", "while"):
            position = _conditional(page, name, rest, lines, position, otherwise, depth)
        elif name in ("de", "de1", "am", "ig", "dei"):
            end = "." + (rest.split()[1] if name != "ig" and len(rest.split()) > 1 else ".")
            if name == "ig" and rest.split():
                end = "." + rest.split()[0]
            stop = next((i for i in range(position, len(lines)) if lines[i].rstrip() == end), len(lines))
            if name in ("de", "de1") and rest.split():
                page.macros[rest.split()[0]] = lines[position:stop]
            position = stop + 1
        elif name == "TS":
            stop = next((i for i in range(position, len(lines)) if lines[i].startswith(".TE")), len(lines))
            _table(page, lines[position:stop])
            position = stop + 1
        elif name in ("EQ", "PS", "G1"):
            stop = next((i for i in range(position, len(lines)) if lines[i][:3] in (".EN", ".PE", ".G2")), len(lines))
            position = stop + 1
        elif name == "so":
            raise Unreadable("redirection")
        else:
            _request(page, name, rest, depth)


def _conditional(page, name, rest, lines, position, otherwise, depth) -> int:
    """Handle ``if ie el``; return the position after the conditional's block."""
    if name == "el":
        holds, body = (otherwise.pop() if otherwise else False), rest
    else:
        holds, body = _evaluate(rest)
        holds = holds and name != "while"
        if name == "ie":
            otherwise.append(not holds)
    body = body.strip()
    block = [body]
    if body.startswith("\\{"):
        block[0] = body[2:].strip()
        level = 1 + block[0].count("\\{") - block[0].count("\\}")
        while level > 0 and position < len(lines):
            line = strip_comment(lines[position])
            level += line.count("\\{") - line.count("\\}")
            block.append(re.sub(r"\\\}\s*$", "", line) if level <= 0 else line)
            position += 1
        block = [line for line in block if line.strip() and line.strip() not in (".", "'")]
    if holds and any(block):
        _run(page, block, depth + 1)
    return position


def _evaluate(rest: str) -> tuple[bool, str]:
    """(whether the condition holds for a terminal in groff, the rest of the line)."""
    negated = rest.startswith("!")
    rest = rest.removeprefix("!").lstrip()
    if rest.startswith(("n ", "n\t", "n\\")) or rest == "n":
        holds, rest = True, rest[1:]
    elif rest[:1] in "toe" and rest[1:2] in (" ", "\t", "\\", ""):
        holds, rest = rest[:1] == "o", rest[1:]
    elif match := re.match(r"\(?\\n\(\.g\)?|\(?\\n\[\.g\]\)?", rest):
        holds, rest = True, rest[match.end() :]
    elif rest[:1] in "'\"":
        parts = rest[1:].split(rest[0], 2)
        holds, rest = len(parts) == 3 and parts[0] == parts[1], parts[-1]
    else:
        match = re.match(r"\S+", rest)
        holds, rest = False, rest[match.end() if match else 0 :]
    return holds != negated, rest


def _request(page: _Page, name: str, rest: str, depth: int) -> None:
    """Handle one request or macro that concerns its own line only."""
    if name in page.macros:
        _expand(page, name, rest, depth)
        return
    arguments = split_arguments(rest)
    if name in _FONTS:
        if arguments:
            page.add(" ".join(arguments))
    elif name in _ALTERNATING:
        if arguments:
            page.add("".join(arguments))
    elif name == "OP":
        page.add(f"[{' '.join(arguments)}]")
    elif name in ("SH", "SS"):
        page.filling, page.mark = True, ""
        page.end_paragraph()
        page.expects_tag = True
        if arguments:
            page.add(" ".join(arguments))
    elif name in _PARAGRAPHS:
        page.expects_tag, page.mark = False, ""
        page.end_paragraph()
    elif name in ("TP", "TQ"):
        page.mark = ""
        (page.end_paragraph if name == "TP" else page.end_line)()
        page.expects_tag = True
    elif name == "IP":
        page.end_paragraph()
        tag = unescape(arguments[0], page.strings).strip() if arguments else ""
        page.mark, page.expects_tag = "", False
        if _NUMBER.match(tag):
            page.mark = tag + " "
        elif tag:
            page.expects_tag = True
            page.add(arguments[0])
    elif name in ("nf", "EX", "Vb", "DS", "Ds"):
        page.end_paragraph() if name != "nf" else page.end_line()
        page.filling = False
    elif name in ("fi", "EE", "Ve", "DE", "De"):
        page.end_line()
        page.filling = True
    elif name in ("UR", "MT"):
        page.link = arguments[0] if arguments else ""
    elif name in ("UE", "ME"):
        page.add(f"<{page.link}>{arguments[0] if arguments else ''}")
    elif name == "ds":
        key, _, value = rest.partition(" ")
        page.strings[key] = value.strip().removeprefix('"')
    elif name == "TH":
        page.seen_title = True
    elif name in _BREAKS:
        page.end_line()
        if name == "sp":
            page.end_paragraph()
        elif name == "SY" and arguments:
            page.add(arguments[0])
    elif name not in _IGNORED and name not in ("", ".", '\\"'):
        page.unknown += 1


def _expand(page: _Page, name: str, rest: str, depth: int) -> None:
    body = page.macros[name]
    page.expansions += len(body)
    if depth > 10 or page.expansions > MAX_EXPANSIONS:
        raise Unreadable("macro loop")
    arguments = split_arguments(rest)

    def fill(match: re.Match) -> str:
        if match[1] in "*@":
            return " ".join(arguments)
        return arguments[int(match[1]) - 1] if 0 < int(match[1]) <= len(arguments) else ""

    _run(page, [re.sub(r"\\\\\$([0-9*@])", fill, line).replace("\\\\", "\\") for line in body], depth + 1)


def _table(page: _Page, lines: list[str]) -> None:
    """A tbl(1) table: one line per row, cells separated by tabs; rules and formats are dropped."""
    page.end_paragraph()
    separator = "\t"
    if lines and lines[0].rstrip().endswith(";"):
        option = re.search(r"tab\s*\((.)\)", lines[0])
        separator = option[1] if option else separator
    position = next((i for i, line in enumerate(lines) if line.rstrip().endswith(".")), len(lines)) + 1
    rows: list[str] = []
    cell: list[str] | None = None
    in_format = False
    for raw in lines[position:]:
        line = strip_comment(raw)
        if in_format:
            in_format = not line.rstrip().endswith(".")
            continue
        if line.startswith(".T&"):
            in_format = True
            continue
        match = _REQUEST.match(line)
        if cell is not None and line.startswith("T}"):
            rows[-1] += collapse("\n".join(cell)).strip()
            cell = None
            line = line[2:]
            if line.rstrip().endswith("T{"):
                rows[-1] += line.rstrip()[:-2].replace(separator, "\t")
                cell = []
            else:
                rows[-1] += line.replace(separator, "\t")
        elif match and line[0] == ".":
            arguments = split_arguments(match[2])
            text = ("" if match[1] in _ALTERNATING else " ").join(arguments)
            if match[1] not in _FONTS | _ALTERNATING or not text:
                continue
            if cell is not None:
                cell.append(text)
            else:
                rows.append(text.replace(separator, "\t"))
        elif cell is not None:
            cell.append(line)
        elif line.rstrip() in ("_", "=", ""):
            continue
        elif line.rstrip().endswith("T{"):
            rows.append(line.rstrip()[:-2].replace(separator, "\t"))
            cell = []
        else:
            rows.append(line.replace(separator, "\t"))
    for row in rows:
        cells = (unescape(part, page.strings).replace(CONTINUE, "").strip() for part in row.split("\t"))
        text = "\t".join(part for part in cells if part)
        if text and text not in ("_", "=", "\\^"):
            page.paragraphs.append(text + "\n")
    page.end_paragraph()
