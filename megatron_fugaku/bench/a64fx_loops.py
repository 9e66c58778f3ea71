"""The hottest loop of a counted case, on its own: cycles of an iteration by two models, share of the A64FX's peak, and
whether it puts registers on the stack."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from megatron_fugaku.bench import a64fx_osaca
from megatron_fugaku.bench.a64fx_counts import Block, Region
from megatron_fugaku.bench.a64fx_cycles import FLOPS_PER_CYCLE, disassemble, join_blocks, simulate
from megatron_fugaku.bench.records import render_columns

_MULTIPLY_ADD = re.compile(r"fn?m(?:la|ls|ad|sb) z\d+\.s\b")
_FLOPS_OF_ONE = FLOPS_PER_CYCLE // 2  # there are two pipes
_STACK = re.compile(r"\[(?:sp|x29)\b")


@dataclass(frozen=True)
class HotLoop:
    """The hottest loop of a case.

    Attributes:
        case: its name.
        share: of the case's instructions.
        texts: its instructions; the last branches to the first.
        cycles: (low, high) of an iteration, by llvm-mca.
        opinion: OSACA's; None where it is not installed or fails.
    """

    case: str
    share: float
    texts: Sequence[str] = field(repr=False)
    cycles: tuple[float, float]
    opinion: a64fx_osaca.Opinion | None

    @property
    def flops(self) -> int:
        """What an iteration's multiply-adds of whole float32 vectors do; 0 where it has none."""
        return _FLOPS_OF_ONE * sum(_MULTIPLY_ADD.match(text) is not None for text in self.texts)

    @property
    def share_of_peak(self) -> float:
        """The least share of float32's peak, by llvm-mca."""
        return self.flops / FLOPS_PER_CYCLE / self.cycles[1]

    @property
    def num_stack_accesses(self) -> int:
        """Loads and stores by the stack or frame pointer: registers that were not enough."""
        return sum(_STACK.search(text) is not None for text in self.texts)


def find_hot_loop(region: Region) -> tuple[Block, list[str]] | None:
    """Return the block of most instructions whose end branches to its beginning, with its text; None without one."""
    for block in sorted(join_blocks(region.blocks), key=lambda block: -block.executions * len(block.words)):
        texts = disassemble(block.words)
        last = texts.get(block.words[-1], "")
        if re.fullmatch(rf"(b\.\w+|cbn?z \w+,|tbn?z \w+, #\d+,) #-{4 * len(block.words) - 4}", last):
            return block, [texts.get(word, ".nop") for word in block.words]
    return None


def judge_hot_loops(cases: Sequence[str], regions: Sequence[Region]) -> list[HotLoop]:
    """Return the hottest loop of every case that has one.

    Raises:
        EnvironmentError: LLVM's tools fail.
    """
    found = {case: loop for case, region in zip(cases, regions, strict=True)
             if (loop := find_hot_loop(region)) is not None}
    simulated = simulate([texts for _, texts in found.values()])
    has_osaca = a64fx_osaca.is_installed()
    total = dict(zip(cases, (region.instructions for region in regions), strict=True))
    return [HotLoop(case, block.executions * len(texts) / total[case], texts, cycles,
                    a64fx_osaca.ask_osaca(texts) if has_osaca else None)
            for (case, (block, texts)), cycles in zip(found.items(), simulated, strict=True)]


def render_hot_loops(loops: Sequence[HotLoop]) -> str:
    """Return size, share of the peak, accesses to the stack, and both models' cycles per iteration as text."""
    rows = []
    without = "failed" if a64fx_osaca.is_installed() else "-"
    for loop in loops:
        said, known = without, "-"
        if loop.opinion is not None:
            said = f"{loop.opinion.pipes:.1f} - {max(loop.opinion.pipes, loop.opinion.carried):.1f}"
            known = f"{100 * loop.opinion.num_known / len(loop.texts):.0f} %"
        rows.append([loop.case, f"{100 * loop.share:.0f} %", str(len(loop.texts)),
                     f"{loop.cycles[0]:.1f} - {loop.cycles[1]:.1f}",
                     f"{100 * loop.share_of_peak:.1f} %" if loop.flops else "-", str(loop.num_stack_accesses), said,
                     known])
    return render_columns(("hottest loop of", "of all", "instructions", "llvm-mca's cycles", "of peak", "stack",
                           "OSACA's cycles", "knows"), rows)
