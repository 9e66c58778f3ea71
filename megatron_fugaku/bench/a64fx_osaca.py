"""A second opinion on a loop: OSACA's model of the A64FX, where the command ``osaca`` is installed.

OSACA 0.7.1 (``pip install osaca``; AGPL, only ever started as a program) knows the A64FX's pipes from measurements on
the machine, but of SVE it has mostly what products of doubles need: instructions on other elements are given to it as
those on doubles, whose costs are the same, and what it does not know costs it nothing. Its figures are therefore worth
as much as the share of instructions that it knows, which stands beside them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

OSACA = "osaca"
_AS_DOUBLES = ((r"\.[hs]\b", ".d"), (r"\bld1r?[wh]\b", "ld1d"), (r"\bst1[wh]\b", "st1d"), (r"[{}]", ""))


@dataclass(frozen=True)
class Opinion:
    """Cycles of one iteration of a loop, by the busiest pipe and by what the next iteration waits for, and how many of
    its instructions are known."""

    pipes: float
    carried: float
    num_known: int


def is_installed() -> bool:
    """Return whether there is a second opinion to have."""
    return shutil.which(OSACA) is not None


def ask_osaca(texts: Sequence[str]) -> Opinion | None:
    """Return OSACA's opinion of a loop, whose last instruction branches to the first; None where it fails."""
    body = "\n".join(texts[:-1])
    for pattern, replacement in _AS_DOUBLES:
        body = re.sub(pattern, replacement, body)
    last = re.sub(r"#-\d+$", ".L1", texts[-1])
    with tempfile.TemporaryDirectory() as folder:
        source, answer = Path(folder, "loop.s"), Path(folder, "answer.yml")
        source.write_text(f".L1:\n{body}\n{last}\n", encoding="utf-8")
        done = subprocess.run([OSACA, "--arch", "A64FX", "--ignore-unknown", "--yaml-out", answer, source],
                              capture_output=True, text=True, check=False)
        written = answer.read_text(encoding="utf-8") if answer.is_file() else ""
    found = re.search(r"^Summary:\n(?:  .*\n)+", written, re.M)
    if done.returncode or found is None:
        return None
    summary = yaml.safe_load(found[0])["Summary"]
    num_unknown = len(re.findall(r"^.*\|\s+X ", done.stdout, re.M))
    return Opinion(max(summary["PortPressure"].values()), summary["LCD"], len(texts) - num_unknown)
