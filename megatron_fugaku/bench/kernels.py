"""``mfugaku bench kernels --target a64fx``: our kernels on an A64FX that nobody here has, and stock torch beside them.

Instructions are counted exactly (``a64fx_counts.py``), cycles follow from a model (``a64fx_cycles.py``); neither knows
caches, memory, or what threads wait for. Therefore, beside the cycles stands what the memory of a node takes for the
bytes that have to move when nothing stays in a cache.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku.bench import a64fx_counts, a64fx_cycles
from megatron_fugaku.bench.a64fx_counts import Region
from megatron_fugaku.bench.a64fx_cycles import CLOCK_HZ, FLOPS_PER_CYCLE, MEMORY_BYTES_PER_S, NUM_CORES, Cycles
from megatron_fugaku.bench.a64fx_loops import HotLoop, judge_hot_loops, render_hot_loops
from megatron_fugaku.bench.kernel_peers import PeerCount, count_peers, open_arm64_root
from megatron_fugaku.bench.kernel_score import PASSES, STOCK_CASES, StepTime, add_up, render_score, time_steps
from megatron_fugaku.bench.kernel_targets import (
    LEAST_FLOAT16_SPEEDUP,
    MOST_ERROR,
    MOST_IMBALANCE,
    MOST_REDUNDANCY,
    least_share_of_loop,
    least_share_of_peak,
    most_instructions,
)
from megatron_fugaku.bench.records import Record, render_columns
from megatron_fugaku.errors import ConfigError, EnvironmentError

BENCHMARK = "kernels"
DEEP = "--deep"
ASKED, PEAK, EVEN, ALONE = "at most", "peak of multiply-adds", "evenly shared", "one thread"
WIDE = "ours in float32"


@dataclass(frozen=True)
class CaseCount:
    """One case of ours.

    Attributes:
        case: as the benchmark's program prints it: its name, op, variant, dtype, shape, unit and numbers; ``error``
            where it is less accurate than float32, against float64 and in root mean squares; and whether it is
            ``deep``, of the lengths of the 13B model.
        region: what was executed for it.
        cycles: of the whole case; None where they were not modelled.
    """

    case: Mapping
    region: Region
    cycles: Cycles | None = None

    @property
    def per_unit(self) -> float:
        """Instructions per element or flop."""
        return self.region.instructions / self.case["num_units"]


@dataclass(frozen=True)
class Balance:
    """How the tasks of a case are shared by threads, in multiply-adds or, where it has none, instructions.

    Attributes:
        case: as the benchmark's program prints it.
        unit: multiply-adds or instructions.
        num_busy: threads that have a part of the work.
        most: of the busiest.
        mean: of all threads that there are.
        instructions: of all busy threads.
        alone: instructions of one thread that does all of the work.
    """

    case: Mapping
    unit: str
    num_busy: int
    most: int
    mean: float
    instructions: int
    alone: int

    @property
    def imbalance(self) -> float:
        """What the busiest thread has to do, in multiples of the mean of all threads that there are."""
        return self.most / self.mean

    @property
    def redundancy(self) -> float:
        """What threads do more than one would, such as packing what another one has packed, as a share of its work."""
        return self.instructions / self.alone - 1


def count_cases(program: Path, counter: Path, words: Sequence[str] = (), model: bool = True,
                deep: bool = False) -> list[CaseCount]:
    """Return the counts of the cases whose names contain one of the words, or of all: small ones, or deep ones.

    Raises:
        EnvironmentError: the program fails, or LLVM's tools are missing and cycles are asked for.
    """
    options = [DEEP] if deep else []
    if not _has_any(program, words, *options):
        return []
    printed, regions = a64fx_counts.count_regions(counter, [program, *options, *words])
    cases = [_read_case(line, deep) for line in printed.splitlines()]
    cycles = a64fx_cycles.model_cycles(regions) if model else [None] * len(regions)
    return [CaseCount(*of_case) for of_case in zip(cases, regions, cycles, strict=True)]


def count_balance(program: Path, counter: Path, num_threads: int, words: Sequence[str] = (),
                  whole: bool = True) -> list[Balance]:
    """Return how cases are shared by a number of threads.

    Args:
        program, counter, words: as for :func:`count_cases`.
        num_threads: that there are.
        whole: take the 13B shapes, which not every case has, instead of small ones.

    Raises:
        EnvironmentError: the program fails.
    """
    size = ["--whole"] if whole else []
    if not _has_any(program, words, *size):
        return []
    printed, regions = a64fx_counts.count_threads(counter, [program, *size, f"--threads={num_threads}", *words])
    _, alone = a64fx_counts.count_threads(counter, [program, *size, *words])
    balances = []
    for line, threads, [one] in zip(printed.splitlines(), regions, alone, strict=True):
        unit = "multiply-adds" if any(thread.fmas for thread in threads) else "instructions"
        done = [thread.fmas if unit == "multiply-adds" else thread.instructions for thread in threads]
        # The thread that waits for the others has next to nothing of the work.
        busy = [thread for thread, count in enumerate(done) if count > max(done) / 20]
        balances.append(Balance(json.loads(line), unit, len(busy), max(done), sum(done) / num_threads,
                                sum(threads[thread].instructions for thread in busy), one.instructions))
    return balances


@dataclass(frozen=True)
class Plan:
    """What to count: cases whose names contain one of ``words``, or all of them; ``num_threads`` 0: no balance."""

    words: tuple[str, ...] = ()
    compiler: str = "gcc"
    num_threads: int = 48
    peers: bool = True
    arm64_root: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """All counts; ``no_peers`` says why stock torch is not among them."""

    compiler: str
    counts: tuple[CaseCount, ...]
    peers: Mapping[str, PeerCount]
    no_peers: str
    balances: tuple[Balance, ...]
    hot_loops: tuple[HotLoop, ...] = ()

    @property
    def torch(self) -> str:
        """The version of stock torch, empty without it."""
        return next((peer.torch for peer in self.peers.values()), "")


def measure(plan: Plan) -> Outcome:
    """Build, run and model everything.

    Raises:
        ConfigError: no case has such a name.
        EnvironmentError: a tool is missing or fails. Without an arm64 image, ours are counted alone.
    """
    a64fx_counts.find_emulator()
    a64fx_cycles.check_tools()
    with tempfile.TemporaryDirectory() as folder:
        counter = a64fx_counts.build_counter(Path(folder))
        program = a64fx_counts.build_bench(Path(folder), plan.compiler)
        cases = [*list_cases(program), *list_cases(program, DEEP)]
        check_words(cases, plan.words)
        with ThreadPoolExecutor() as pool:  # an emulator keeps one core busy
            stock = pool.submit(_measure_peers, plan, cases, counter)
            counts = [count for deep in (False, True) for count in count_cases(program, counter, plan.words, deep=deep)]
            balances = count_balance(program, counter, plan.num_threads, plan.words) if plan.num_threads else []
            peers, no_peers = stock.result()
        loops = judge_hot_loops([count.case["case"] for count in counts], [count.region for count in counts])
    return Outcome(a64fx_counts.describe_compiler(plan.compiler), tuple(counts), peers, no_peers, tuple(balances),
                   tuple(loops))


def _measure_peers(plan: Plan, cases: Sequence[Mapping], counter: Path) -> tuple[dict[str, PeerCount], str]:
    """Count stock torch; return why there is nothing, too."""
    if not plan.peers:
        return {}, "stock torch was not asked for"
    marks = a64fx_counts.build_marks(counter.parent, plan.compiler)
    # Its products of long halves would take the emulator hours.
    asked = [case for case in cases
             if _is_asked_for(case, plan.words) and (not case["deep"] or case["dtype"] == "float32")]
    try:
        with open_arm64_root(plan.arm64_root) as root:
            return count_peers([*asked, *(() if plan.words else STOCK_CASES.values())], counter, marks, root), ""
    except EnvironmentError as error:
        if plan.arm64_root is not None:
            raise
        return {}, str(error)


def check_words(cases: Sequence[Mapping], words: Sequence[str]) -> None:
    """Refuse a word that is in the name of no case.

    Raises:
        ConfigError: naming it, and all cases.
    """
    names = [case["case"] for case in cases]
    for word in words:
        if not any(word in name for name in names):
            raise ConfigError(f"{word!r} is in the name of no case", "nothing would be counted for it",
                              f"there are: {', '.join(names)}", "--cases")


def list_cases(program: Path, *options: str) -> list[dict]:
    """Return all cases with nothing counted: small ones, with ``--whole`` whole 13B shapes, with ``--deep`` deep ones.

    Raises:
        EnvironmentError: there is no QEMU.
    """
    done = subprocess.run([a64fx_counts.find_emulator(), "-cpu", a64fx_counts.PROCESSOR, program, "--list", *options],
                          capture_output=True, text=True, check=True)
    return [_read_case(line, DEEP in options) for line in done.stdout.splitlines()]


def _read_case(line: str, deep: bool) -> dict:
    return json.loads(line) | {"deep": deep}


def _is_asked_for(case: Mapping, words: Sequence[str]) -> bool:
    return any(word in case["case"] for word in words or [""])


def _has_any(program: Path, words: Sequence[str], *options: str) -> bool:
    return any(_is_asked_for(case, words) for case in list_cases(program, *options))


def compare(outcome: Outcome) -> list[Record]:
    """Return a run's records: for every case instructions and cycles, against stock torch and what is asked for."""
    records = [record for count in outcome.counts for record in _compare_case(count, outcome)]
    records += _judge_loops(outcome)
    records += [record for of_case in _pair_float16(outcome) for record in _judge_float16(*of_case, outcome.compiler)]
    records += [record for balance in outcome.balances for record in _judge_balance(balance, outcome.compiler)]
    for name, times in score(outcome).items():
        for bound, ours, stock in zip(("low", "high"), *add_up(times), strict=True):
            records.append(Record(BENCHMARK, f"13B layer {name} on {NUM_CORES} cores, {outcome.compiler}",
                                  f"modelled_time_{bound}", ours, "ms", "stock torch alone", stock))
    return records


def score(outcome: Outcome) -> dict[str, list[StepTime]]:
    """Return the times of a layer's steps by pass; nothing where not all of stock torch's share was counted.

    Where several of our cases are of one op and variant, the slowest stands for them, of deep ones if there are any.
    """
    stock = {key: outcome.peers.get(case["case"]) for key, case in STOCK_CASES.items()}
    if not all(stock.values()):
        return {}
    ours: dict[tuple[str, str], Cycles] = {}
    modelled = [count for count in outcome.counts if count.case["dtype"] == "float32" and count.cycles is not None]
    deep = {(count.case["op"], count.case["variant"]) for count in modelled if count.case["deep"]}
    for count in modelled:
        key, num_units = (count.case["op"], count.case["variant"]), count.case["num_units"]
        if count.case["deep"] or key not in deep:
            cycles = Cycles(count.cycles.low / num_units, count.cycles.high / num_units)
            ours[key] = max(ours.get(key, cycles), cycles, key=lambda known: known.high)
    by_stock = {key: peer.cycles for key, peer in stock.items()}
    return {name: time_steps(steps, ours, by_stock) for name, steps in PASSES.items()}


def _compare_case(count: CaseCount, outcome: Outcome) -> list[Record]:
    case, unit = count.case, count.case["unit"]
    name = f"{case['case']} {outcome.compiler}"
    peer = outcome.peers.get(case["case"])
    stock = f"torch {peer.torch} for aarch64" if peer else ""

    def record(metric: str, value: float, of_unit: str, peer_value: float | None) -> Record:
        return Record(BENCHMARK, name, f"{metric}_per_{unit}", value, of_unit, stock, peer_value)

    records = [record("instructions", count.per_unit, "instructions", peer.instructions if peer else None)]
    most = most_instructions(case)
    if most is not None:
        records.append(Record(BENCHMARK, name, f"instructions_per_{unit}", count.per_unit, "instructions", ASKED, most,
                              1))
    if "error" in case:
        records.append(Record(BENCHMARK, name, "error", case["error"], "root mean square of the results", ASKED,
                              MOST_ERROR[case["op"]], 1))
    if count.cycles is None:
        return records
    for bound in ("low", "high"):
        value = getattr(count.cycles, bound) / case["num_units"]
        records.append(record(f"cycles_{bound}", value, "cycles", getattr(peer.cycles, bound) if peer else None))
        if unit == "flop":
            target = least_share_of_peak(case) if bound == "high" else None
            records.append(Record(BENCHMARK, name, f"cycles_{bound}_per_flop", value, "cycles", PEAK,
                                  1 / FLOPS_PER_CYCLE, target))
    return records


def _judge_loops(outcome: Outcome) -> list[Record]:
    """The loops of what is compared with the peak, alone."""
    targets = {count.case["case"]: least_share_of_loop(count.case) for count in outcome.counts
               if count.case["unit"] == "flop"}
    return [Record(BENCHMARK, f"{loop.case} {outcome.compiler}, inner loop", f"cycles_{bound}_per_flop",
                   cycles / loop.flops, "cycles", PEAK, 1 / FLOPS_PER_CYCLE,
                   targets[loop.case] if bound == "high" else None)
            for loop in outcome.hot_loops if loop.case in targets and loop.flops
            for bound, cycles in zip(("low", "high"), loop.cycles, strict=True)]


def _pair_float16(outcome: Outcome) -> list[tuple[CaseCount, CaseCount]]:
    """Products in float16 with those of their shape in float32, where both have cycles."""
    wide = {(count.case["variant"], *count.case["shape"]): count for count in outcome.counts
            if (count.case["op"], count.case["dtype"]) == ("gemm", "float32") and count.cycles is not None}
    keys = ((count, (count.case["variant"], *count.case["shape"])) for count in outcome.counts
            if count.case["op"] == "gemm_fp16" and count.cycles is not None)
    return [(count, wide[key]) for count, key in keys if key in wide]


def _judge_float16(count: CaseCount, wide: CaseCount, compiler: str) -> list[Record]:
    name = f"{count.case['case']} {compiler}"
    return [Record(BENCHMARK, name, f"cycles_{bound}_per_flop", getattr(count.cycles, bound) / count.case["num_units"],
                   "cycles", WIDE, getattr(wide.cycles, bound) / wide.case["num_units"], LEAST_FLOAT16_SPEEDUP)
            for bound in ("low", "high")]


def _judge_balance(balance: Balance, compiler: str) -> list[Record]:
    name = f"{balance.case['case']} {compiler}, {balance.num_busy} busy threads"
    return [Record(BENCHMARK, name, "busiest_thread", balance.most, balance.unit, EVEN, balance.mean,
                   1 / MOST_IMBALANCE),
            Record(BENCHMARK, name, "all_threads", balance.instructions, "instructions", ALONE, balance.alone,
                   1 / (1 + MOST_REDUNDANCY))]


def memory_cycles(case: Mapping) -> float:
    """Return the cycles per unit for which a core waits for its share of a node's memory, if nothing is in a cache."""
    return case["num_bytes"] / case["num_units"] / (MEMORY_BYTES_PER_S / NUM_CORES / CLOCK_HZ)


def render_report(outcome: Outcome, records: Sequence[Record]) -> str:
    """Return tables for people: ``!`` marks what is not reached."""
    vectors = "".join(f" with {size}-byte vectors" for size in {c.case["vector_bytes"] for c in outcome.counts})
    lines = [f"A64FX{vectors}, one core, kernels by {outcome.compiler}; instructions counted in QEMU, cycles modelled "
             "by llvm-mca, not measured\n", _render_counts(outcome)]
    if outcome.no_peers:
        lines.append(f"Without stock torch: {outcome.no_peers}\n")
    if any("error" in count.case for count in outcome.counts):
        lines += ["\n", _render_errors(outcome.counts)]
    if outcome.balances:
        lines += ["\n", _render_balances(outcome.balances)]
    if outcome.hot_loops:
        lines += ["\n", render_hot_loops(outcome.hot_loops)]
    times = score(outcome)
    if times:
        lines += ["\n", render_score(times, outcome.torch), "\n"]
    judged = [record for record in records if record.ok is not None]
    lines.append(f"{sum(bool(record.ok) for record in judged)} of {len(judged)} targets met\n")
    return "".join(lines)


def _render_counts(outcome: Outcome) -> str:
    rows = []
    for count in outcome.counts:
        case, peer = count.case, outcome.peers.get(count.case["case"])
        most = most_instructions(case)
        cycles = count.cycles or Cycles(0, 0)
        per_unit = [bound / case["num_units"] for bound in (cycles.low, cycles.high)]
        rows.append([case["case"], case["unit"], _number(count.per_unit),
                     "-" if most is None else f"{'! ' if count.per_unit > most else ''}{most:g}",
                     _number(peer.instructions) if peer else "-",
                     f"{peer.instructions / count.per_unit:.1f}" if peer else "-",
                     " - ".join(map(_number, per_unit)),
                     f"{_number(peer.cycles.low)} - {_number(peer.cycles.high)}" if peer else "-",
                     _number(memory_cycles(case)),
                     " - ".join(f"{100 / FLOPS_PER_CYCLE / bound:.0f} %" for bound in reversed(per_unit))
                     if case["unit"] == "flop" else "-"])
    return render_columns(("case", "per", "instructions", "asked", "torch", "ratio", "cycles", "torch's cycles",
                           "memory's", "of peak"), rows)


def _render_errors(counts: Sequence[CaseCount]) -> str:
    return render_columns(
        ("case", "error against float64, root mean squares", "asked"),
        [[count.case["case"], f"{count.case['error']:.5f}", f"{MOST_ERROR[count.case['op']]:g}"] for count in counts
         if "error" in count.case])


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _render_balances(balances: Sequence[Balance]) -> str:
    return render_columns(
        ("whole 13B shape", "busy threads", "of", "busiest", "to mean", "asked", "more than one thread does", "asked"),
        [[balance.case["case"], str(balance.num_busy), balance.unit, str(balance.most), f"{balance.imbalance:.4f}",
          _mark(balance.imbalance, MOST_IMBALANCE, f"{MOST_IMBALANCE:g}"), f"{100 * balance.redundancy:.2f} %",
          _mark(balance.redundancy, MOST_REDUNDANCY, f"{100 * MOST_REDUNDANCY:g} %")] for balance in balances])


def _mark(value: float, most: float, shown: str) -> str:
    return shown if value <= most else f"! {shown}"
