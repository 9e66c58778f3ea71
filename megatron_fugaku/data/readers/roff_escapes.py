"""Escape sequences of roff, as groff(7) and groff_char(7) describe them, to plain Unicode text."""

from __future__ import annotations

import re

CHARACTERS = {
    "aq": "'", "dq": '"', "cq": "’", "oq": "‘", "lq": "“", "rq": "”", "bq": "‚", "Bq": "„", "Fo": "«", "Fc": "»",
    "ga": "`", "aa": "´", "ti": "~", "ha": "^", "rs": "\\", "sl": "/", "at": "@", "sh": "#", "Do": "$", "ba": "|",
    "or": "|", "bv": "|", "br": "|", "lB": "[", "rB": "]", "lC": "{", "rC": "}", "la": "⟨", "ra": "⟩", "hy": "-",
    "mi": "−", "pl": "+", "en": "–", "em": "—", "ul": "_", "bu": "•", "ci": "○", "sq": "□", "lz": "◊", "dg": "†",
    "dd": "‡", "ps": "¶", "sc": "§", "co": "©", "rg": "®", "tm": "™", "de": "°", "fm": "′", "ct": "¢", "Po": "£",
    "Ye": "¥", "Eu": "€", "mu": "×", "di": "÷", "+-": "±", "<=": "≤", ">=": "≥", "!=": "≠", "==": "≡", "~=": "≅",
    "~~": "≈", "ap": "∼", "if": "∞", "mo": "∈", "sr": "√", "->": "→", "<-": "←", "<>": "↔", "ua": "↑", "da": "↓",
    "rA": "⇒", "lA": "⇐", "hA": "⇔", "12": "½", "14": "¼", "34": "¾", "S1": "¹", "S2": "²", "S3": "³", "no": "¬",
    "AN": "∧", "OR": "∨", "fa": "∀", "te": "∃", "es": "∅", "is": "∫", "sum": "∑", "product": "∏", "pd": "∂",
    "gr": "∇", "*a": "α", "*b": "β", "*g": "γ", "*d": "δ", "*e": "ε", "*l": "λ", "*m": "μ", "*p": "π", "*s": "σ",
    "*D": "Δ", "*S": "Σ", "*W": "Ω", "*f": "φ", "*h": "θ", "*w": "ω", "ss": "ß", "AE": "Æ", "ae": "æ", "OE": "Œ",
    "oe": "œ", "/O": "Ø", "/o": "ø", "oA": "Å", "oa": "å", "o/": "ø", "fi": "fi", "fl": "fl", "ff": "ff",
    "r!": "¡", "r?": "¿", "u00B4": "´", "hl": "-", "rn": "¯", "OK": "✓", "CR": "↵", "nb": "⊄", "Of": "ª", "Om": "º",
}  # fmt: skip
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", "~": "\u0303", ",": "\u0327", "v": "\u030c"}

CONTINUE = "\x01"
"""Stands for ``\\c``: what follows on the next line goes on without a space."""
BACKSLASH = "\x02"
"""Stands for a backslash of the text until all escapes are read."""

_ESCAPE = re.compile(
    r"""\\(?:
      (?P<font>[fFmMgkYV](?:\[[^\]]*\]|\(..|.))
    | (?P<size>s(?:[-+]?\[[^\]]*\]|\([-+]?..|[-+]?'[^']*'|[-+]?\d\d?))
    | (?P<string>\*(?:\[(?P<s1>[^\]]*)\]|\((?P<s2>..)|(?P<s3>.)))
    | (?P<register>n[-+]?(?:\[[^\]]*\]|\(..|.))
    | (?P<named>\[(?P<c1>[^\]]*)\]|\((?P<c2>..)|C'(?P<c3>[^']*)')
    | (?P<motion>[hvwlLDXxbBRSHAZo]'(?P<inside>[^']*)')
    | N'(?P<code>\d+)'
    | (?P<single>.)
    )""",
    re.VERBOSE,
)
_SINGLE = {
    "-": "-", "e": BACKSLASH, "\\": BACKSLASH, "'": "'", "`": "`", "~": " ", " ": " ", "0": " ", "t": "\t",
    "c": CONTINUE, "_": "_", ".": ".", "E": BACKSLASH,
}  # fmt: skip
_COMMENT = re.compile(r'(?<!\\)((?:\\\\)*)\\["#].*')


def strip_comment(line: str) -> str:
    """``line`` up to its roff comment."""
    return _COMMENT.sub(r"\1", line)


def name_character(name: str) -> str:
    """The character that ``\\[name]`` stands for; empty where it is not known."""
    if name in CHARACTERS:
        return CHARACTERS[name]
    if re.fullmatch(r"u[0-9A-F]{4,6}(_[0-9A-F]{4,6})*", name):
        return "".join(chr(int(code, 16)) for code in name[1:].split("_") if int(code, 16) < 0x110000)
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        import unicodedata

        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    return ""


def unescape(text: str, strings: dict[str, str]) -> str:
    """``text`` without escapes; ``strings`` are the page's own (``.ds``). The result may hold :data:`CONTINUE`."""

    def replace(match: re.Match) -> str:
        if match["string"]:
            return strings.get(match["s1"] or match["s2"] or match["s3"], "")
        if match["named"]:
            return name_character(match["c1"] or match["c2"] or match["c3"] or "")
        if match["register"]:
            return "0"
        if match["code"]:
            return chr(int(match["code"])) if int(match["code"]) < 0x110000 else ""
        if match["motion"]:
            return match["inside"] if match["motion"][0] in "oZ" else " " if match["motion"][0] == "h" else ""
        return _SINGLE.get(match["single"], "") if match["single"] else ""

    for _ in range(4):  # a string may hold escapes itself
        if "\\" not in text:
            break
        text = _ESCAPE.sub(replace, text)
    return text.replace("\\", "").replace(BACKSLASH, "\\")


def split_arguments(line: str) -> list[str]:
    """Arguments of a macro: separated by spaces, ``"`` keeps spaces, ``""`` inside quotes is one quote."""
    arguments = []
    position, length = 0, len(line)
    while position < length:
        if line[position] in " \t":
            position += 1
            continue
        start = position
        if line[position] == '"':
            word = []
            position += 1
            while position < length:
                if line[position] == '"':
                    if line[position + 1 : position + 2] != '"':
                        break
                    position += 1
                word.append(line[position])
                position += 1
            position += 1
            arguments.append("".join(word))
            continue
        while position < length and line[position] not in " \t":
            position += 2 if line[position] == "\\" else 1
        arguments.append(line[start:position])
    return arguments
