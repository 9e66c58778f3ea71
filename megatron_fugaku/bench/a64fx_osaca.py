"""A second opinion on the hottest loop of a case: OSACA's model of the A64FX, where the command ``osaca`` is installed.

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

from megatron_fugaku.bench.a64fx_counts import Block, Region
from megatron_fugaku.bench.a64fx_cycles import disassemble, join_blocks, simulate
from megatron_fugaku.bench.records import render_columns

OSACA = "osaca"
_AS_DOUBLES = ((r"\.[hs]\b", ".d"), (r"\bld1r?[wh]\b", "ld1d"), (r"\bst1[wh]\b", "st1d"), (r"[{}]", ""))


@dataclass(frozen=True)
class Opinion:
    """Cycles of one iteration of a loop, by the busiest pipe and by what the next iteration waits for, and how many of
    its instructions are known."""

    pipes: float
    carried: float
    num_known: int


@dataclass(frozen=True)
class HotLoop:
    """The hottest loop of a case: its share of all instructions, its instructions, both models' cycles; OSACA may have
    failed on it."""

    case: str
    share: float
    num_instructions: int
    cycles: tuple[float, float]
    opinion: Opinion | None


def is_installed() -> bool:
    """Return whether there is a second opinion to have."""
    return shutil.which(OSACA) is not None


def find_hot_loop(region: Region) -> tuple[Block, list[str]] | None:
    """Return the block of most instructions whose end branches to its beginning, with its text; None without one."""
    for block in sorted(join_blocks(region.blocks), key=lambda block: -block.executions * len(block.words)):
        texts = disassemble(block.words)
        last = texts.get(block.words[-1], "")
        if re.fullmatch(rf"(b\.\w+|cbn?z \w+,|tbn?z \w+, #\d+,) #-{4 * len(block.words) - 4}", last):
            return block, [texts.get(word, ".nop") for word in block.words]
    return None


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


def judge_hot_loops(cases: Sequence[str], regions: Sequence[Region]) -> list[HotLoop]:
    """Return the hottest loop of every case that has one.

    Raises:
        EnvironmentError: LLVM's tools fail.
    """
    loops = []
    for case, region in zip(cases, regions, strict=True):
        found = find_hot_loop(region)
        if found is not None:
            block, texts = found
            share = block.executions * len(texts) / region.instructions
            loops.append(HotLoop(case, share, len(texts), simulate([texts])[0], ask_osaca(texts)))
    return loops


def render_hot_loops(loops: Sequence[HotLoop]) -> str:
    """Return both models' cycles per iteration as text."""
    rows = []
    for loop in loops:
        said, known = "failed", "-"
        if loop.opinion is not None:
            said = f"{loop.opinion.pipes:.1f} - {max(loop.opinion.pipes, loop.opinion.carried):.1f}"
            known = f"{100 * loop.opinion.num_known / loop.num_instructions:.0f} %"
        rows.append([loop.case, f"{100 * loop.share:.0f} %", str(loop.num_instructions),
                     f"{loop.cycles[0]:.1f} - {loop.cycles[1]:.1f}", said, known])
    return render_columns(("hottest loop of", "of all", "instructions", "llvm-mca's cycles", "OSACA's cycles", "knows"),
                          rows)
