"""Cycles that an A64FX would take for counted blocks, by llvm-mca's model of it; nothing here is a measurement.

Every hot block is disassembled and simulated as a loop of its own. Two figures bound what a core would need, its caches
aside: *low*, what decoding and the busiest pipe alone allow, and *high*, the simulated cycles of the loop, in which an
iteration waits for the registers that the one before wrote. For a real loop high is the better guess; for a piece of
straight code it is too high, because the piece waits for itself.

What is wrong in LLVM 19's model is corrected: it lets divisions and square roots of scalar and NEON registers follow
each other every cycle, while they occupy their pipe for as long as they take. SVE's, 98 cycles and more, and
multiply-adds by element, which take two slots, are modelled as they are. Source of the cycles: the machine model of
OSACA 0.7.1 (a64fx.yml), and the latencies in LLVM's own.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from megatron_fugaku.bench.a64fx_counts import Block, Region
from megatron_fugaku.errors import EnvironmentError

DISASSEMBLER, SIMULATOR = "llvm-mc-19", "llvm-mca-19"
INSTALL_LLVM = "apt install llvm-19"
CLOCK_HZ = 2.2e9  # of Fugaku's nodes in boost mode
NUM_CORES = 48
MEMORY_BYTES_PER_S = 1024e9  # of a node, by its data sheet
FLOPS_PER_CYCLE = 64  # of float32 and one core: two pipes of 16 lanes, a multiply-add is two
DECODED_PER_CYCLE = 4
#: The A64FX's decoder, renaming and queues, where LLVM's model leaves them open or counts otherwise.
MACHINE = ("-dispatch=4", "-register-file-size=128", "-lqueue=40", "-squeue=24")
#: Iterations of the shorter and of the longer simulation, whose difference is free of the beginning and the end.
ITERATIONS = (50, 150)
#: Cycles for which a division or square root of scalar or NEON registers occupies its pipe, by the size of elements.
DIVISION_CYCLES = {"h": 38, "s": 29, "d": 43}
_DIVISION = re.compile(r"f(?:div|sqrt)\s+(?:v\d+\.\d*([hsd])|([hsd])\d+)\b")
#: What the core does beside the pipes, or what only the system knows; decoded all the same.
_NOT_MODELLED = ("hint", "nop", "svc", "mrs", "msr", "dmb", "dsb", "isb", "dc")
#: Blocks are simulated, the hottest first, until they have this share of all instructions.
COVERAGE = 0.998


@dataclass(frozen=True)
class Cycles:
    """Bounds of the cycles of a region, and the share of its instructions that were simulated."""

    low: float
    high: float
    coverage: float = 1.0


def check_tools() -> None:
    """Refuse to go on without LLVM's tools.

    Raises:
        EnvironmentError: one of them is not on PATH.
    """
    for tool in (DISASSEMBLER, SIMULATOR):
        if shutil.which(tool) is None:
            raise EnvironmentError(f"{tool} is not on PATH", "cycles are modelled with it",
                                   f"install it (Debian: {INSTALL_LLVM})", tool)


def disassemble(words: Iterable[int]) -> dict[int, str]:
    """Return the text of instructions by their words; words that are none are left out.

    Branches have their distance as target, as in ``b.ne #-8``.
    """
    ordered = sorted(set(words))
    lines = "\n".join(" ".join(f"0x{byte:02x}" for byte in word.to_bytes(4, "little")) for word in ordered)
    done = subprocess.run([DISASSEMBLER, "--disassemble", "-triple=aarch64-linux-gnu", "-mattr=+all"], input=lines,
                          capture_output=True, text=True, check=True)
    unknown = {int(line) for line in re.findall(r"^<stdin>:(\d+):\d+: warning: invalid instruction", done.stderr, re.M)}
    texts = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip() not in ("", ".text")]
    known = [word for number, word in enumerate(ordered, 1) if number not in unknown]
    return dict(zip(known, texts, strict=True))


def _follows(word: int) -> int:
    """How sure the instruction behind it is the next: 2 unless it is a branch, 1 for one with a condition, else 0."""
    if word >> 26 & 0x1F == 0x05 or word >> 25 == 0x6B:  # b bl; br blr ret
        return 0
    return 1 if word >> 24 == 0x54 or word >> 25 & 0x3F in (0x1A, 0x1B) else 2  # b.cond; cbz cbnz, tbz tbnz


@dataclass
class _Chain:
    executions: int
    parts: list[Block]

    @property
    def follows(self) -> int:
        return _follows(self.parts[-1].words[-1])

    def joined(self) -> Block:
        return Block(self.parts[0].address, self.parts[0].symbol, self.executions,
                     sum((part.words for part in self.parts), ()))


def join_blocks(blocks: Iterable[Block]) -> list[Block]:
    """Return blocks with those put together that QEMU cut in two: neighbours in memory, executed equally often.

    QEMU cuts at the end of a page too. What follows there may belong to several, such as a loop and its first
    iteration, which was entered elsewhere: it is put to each of them.
    """
    chains: list[_Chain] = []
    by_end: dict[int, list[_Chain]] = {}
    for block in sorted(blocks, key=lambda block: (block.address, len(block.words))):
        ending = by_end.get(block.address, [])
        equal = [chain for chain in ending if chain.executions == block.executions]
        flowing = [chain for chain in ending if chain.follows == 2]
        if equal:
            going_on = [max(equal, key=lambda chain: chain.follows)]
        elif sum(chain.executions for chain in flowing) == block.executions:
            going_on = flowing
        else:
            going_on = []
        for chain in going_on:
            ending.remove(chain)
            chain.parts.append(block)
        if not going_on:
            going_on = [_Chain(block.executions, [block])]
            chains += going_on
        if _follows(block.words[-1]):
            by_end.setdefault(block.address + 4 * len(block.words), []).extend(going_on)
    return [chain.joined() for chain in chains]


def division_cycles(texts: Iterable[str]) -> int:
    """Return for how long divisions and square roots of scalar and NEON registers occupy their pipe."""
    found = (_DIVISION.match(text) for text in texts)
    return sum(DIVISION_CYCLES[match[1] or match[2]] for match in found if match)


def simulate(stretches: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
    """Return (low, high) cycles of instructions as text, each stretch a loop of its own."""
    modelled = [[text for text in stretch if text.split()[0] not in _NOT_MODELLED] for stretch in stretches]
    source = "".join(f"# LLVM-MCA-BEGIN {number}\n" + "\n".join(stretch) + "\n# LLVM-MCA-END\n"
                     for number, stretch in enumerate(modelled) if stretch)
    shorter, longer = (_run_simulator(source, iterations) if source else {} for iterations in ITERATIONS)
    answers = []
    for number, stretch in enumerate(stretches):
        low = max(len(stretch) / DECODED_PER_CYCLE, float(division_cycles(stretch)))
        high = low
        if number in longer:
            low = max(low, longer[number]["BlockRThroughput"])
            steady = longer[number]["TotalCycles"] - shorter[number]["TotalCycles"]
            high = max(low, steady / (ITERATIONS[1] - ITERATIONS[0]))
        answers.append((low, high))
    return answers


def _run_simulator(source: str, iterations: int) -> dict[int, Mapping[str, float]]:
    command = [SIMULATOR, "-mtriple=aarch64-linux-gnu", "-mcpu=a64fx", "-mattr=+all", *MACHINE, "--json",
               f"-iterations={iterations}", "-instruction-info=0", "-resource-pressure=0",
               "-skip-unsupported-instructions=any"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    begin = done.stdout.find("{")
    if done.returncode or begin < 0:
        raise EnvironmentError(f"{SIMULATOR} ended with {done.returncode}: {done.stderr[-500:].strip()}",
                               "cycles cannot be modelled", f"install LLVM 19 ({INSTALL_LLVM})", SIMULATOR)
    return {int(region["Name"]): region["SummaryView"] for region in json.loads(done.stdout[begin:])["CodeRegions"]}


def model_cycles(regions: Sequence[Region]) -> list[Cycles]:
    """Return the cycles of each region.

    Raises:
        EnvironmentError: LLVM's tools are not there, or fail.
    """
    check_tools()
    chosen = [_choose_hot(region) for region in regions]
    texts = disassemble(word for blocks in chosen for block in blocks for word in block.words)
    stretches = list(dict.fromkeys(block.words for blocks in chosen for block in blocks))
    simulated = simulate([[texts.get(word, f".inst 0x{word:08x}") for word in words] for words in stretches])
    cycles = dict(zip(stretches, simulated, strict=True))
    return [_add_up(region, blocks, cycles) for region, blocks in zip(regions, chosen, strict=True)]


def _choose_hot(region: Region) -> list[Block]:
    blocks = sorted(join_blocks(region.blocks), key=lambda block: -block.executions * len(block.words))
    chosen, found = [], 0
    for block in blocks:
        if found >= COVERAGE * region.instructions:
            break
        if block.executions < 0:  # of a difference of regions
            break
        chosen.append(block)
        found += block.executions * len(block.words)
    return chosen


def _add_up(region: Region, blocks: Sequence[Block], cycles: Mapping[tuple[int, ...], tuple[float, float]]) -> Cycles:
    """What was not simulated takes between its decoding and a cycle for each instruction."""
    simulated = sum(block.executions * len(block.words) for block in blocks)
    rest = region.instructions - simulated
    low, high = (sum(block.executions * cycles[block.words][bound] for block in blocks) for bound in (0, 1))
    low += rest / DECODED_PER_CYCLE
    return Cycles(low, max(low, high + rest), simulated / max(region.instructions, 1))
