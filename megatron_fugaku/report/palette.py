"""Colours of pictures and page, as CSS variables, so that one SVG serves light, dark and printed pages.

Matplotlib knows no variables: it draws with a stand-in colour per name, which :func:`themed` replaces in the SVG.
The colours of the categories keep apart for readers who see red and green alike (after Okabe and Ito, 2008).
"""

from __future__ import annotations

#: name: (light, dark)
COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1b1f24", "#e6e9ee"),
    "muted": ("#59636e", "#9aa4b0"),
    "grid": ("#d8dee4", "#353c46"),
    "page": ("#ffffff", "#14171c"),
    "panel": ("#f6f8fa", "#1c2027"),
    "accent": ("#0b5cad", "#6cb2ff"),
    "warn": ("#b3261e", "#ff8a80"),
    "onbar": ("#ffffff", "#101318"),
    "forward": ("#2f6fb7", "#6aa9f0"),
    "backward": ("#1d8a6b", "#4cc9a4"),
    "compute": ("#2f6fb7", "#6aa9f0"),
    "tp": ("#d98200", "#ffb84d"),
    "pp": ("#b8508f", "#ec8fc6"),
    "dp": ("#c4420f", "#ff8a5c"),
    "optimizer": ("#6f57b8", "#b3a0f2"),
    "data": ("#8a7a1f", "#e0d060"),
    "other": ("#9aa4b0", "#6b7480"),
}

_STAND_INS = {name: f"#fa{index:02x}ce" for index, name in enumerate(COLOURS)}


def stand_in(name: str) -> str:
    """Return the colour that stands for ``name`` while a picture is drawn."""
    return _STAND_INS[name]


def themed(svg: str) -> str:
    """Replace the stand-in colours of an SVG by CSS variables."""
    for name, colour in _STAND_INS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def build_css() -> str:
    """Return the CSS that defines the variables; paper is always light."""
    light = "".join(f"--{name}:{colours[0]};" for name, colours in COLOURS.items())
    dark = "".join(f"--{name}:{colours[1]};" for name, colours in COLOURS.items())
    return (f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}")
