"""``mfugaku bench comm``: the MPI backend against gloo and against MPI's own collectives, in one job.

All are called through torch.distributed with the same tensors, one after the other in every round, and every result is
checked. Ours is measured a second time on tensors in the arena, against the peers' times on ordinary ones, which is
what they would run on. The time of a call is the least of the rounds' means, on the slowest rank: on a machine that
does other work too, it is what repeats best.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from megatron_fugaku.bench.comm_targets import BEST, GLOO, STOCK, target_of
from megatron_fugaku.bench.records import Record, render_columns, render_size
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.launch.local import plan_local, run_plan
from megatron_fugaku.launch.machine import find_cores

OURS = "mfugaku"
OPERATIONS = ("all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "all_to_all", "gather", "scatter",
              "ping_pong", "barrier")
DATA_TYPES = ("float32", "bfloat16", "float16", "float64")
SIZES = tuple(1 << power for power in (10, 14, 18, 20, 22, 24, 26, 28))


@dataclass(frozen=True)
class Plan:
    """What to measure. ``sizes`` are bytes of the whole vector: reduced, to be scattered, gathered, or sent."""

    num_ranks: int = 2
    sizes: tuple[int, ...] = SIZES
    operations: tuple[str, ...] = OPERATIONS
    data_types: tuple[str, ...] = ("float32", "bfloat16")
    num_rounds: int = 12


@dataclass(frozen=True)
class Timing:
    """Seconds per call of each peer in one case; MPI itself knows no 16-bit floats, so it may be missing."""

    operation: str
    data_type: str
    num_bytes: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """All timings, with what the ranks saw of the machine."""

    num_ranks: int
    transport: str
    mpi: str
    timings: tuple[Timing, ...]
    loads: tuple[float, ...]
    num_cores: int

    def render_conditions(self) -> str:
        """Return what a reader must know to judge the figures."""
        return (f"{self.num_ranks} ranks of one thread on {self.num_cores} cores; load average "
                f"{self.loads[0]:.1f} before, {self.loads[1]:.1f} after; ours over {self.transport}; {self.mpi}")


def measure(plan: Plan) -> Outcome:
    """Start the ranks, wait for them and return what they measured.

    Raises:
        EnvironmentError: there is no mpirun.
        LaunchError: a rank failed, for example because a result was wrong.
    """
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # torch 2.13 has new names for two of the calls, which torch 2.10 does not know.
        command = [sys.executable, "-W", "ignore::FutureWarning", "-m", "megatron_fugaku.bench.comm_worker",
                   json.dumps(asdict(plan)), str(report)]
        launch = plan_local(command, plan.num_ranks, threads_per_rank=1)
        run_plan(launch, resume_hint="read what it printed above")
        try:
            found = json.loads(report.read_text(encoding="utf-8"))
        except OSError as error:
            raise EnvironmentError(f"the ranks left no report: {error.strerror}", "there is nothing to compare",
                                   "start it again", "mfugaku bench comm") from error
    timings = tuple(Timing(**timing) for timing in found["timings"])
    return Outcome(plan.num_ranks, found["transport"], found["mpi"], timings, (load_before, os.getloadavg()[0]),
                   find_cores().num_usable)


def compare(outcome: Outcome) -> list[Record]:
    """Return a record per case and peer, the better of the peers among them, after one with the machine's load."""
    load = Record("comm", outcome.render_conditions(), "load_average", max(outcome.loads), "processes")
    return [load, *(record for timing in outcome.timings for record in _compare_one(timing, outcome.num_ranks))]


def _compare_one(timing: Timing, num_ranks: int) -> Iterable[Record]:
    of_what = f" {timing.data_type} {render_size(timing.num_bytes)}" if timing.num_bytes else ""
    case = f"{timing.operation}{of_what} on {num_ranks} ranks"
    peers = {peer: timing.seconds[peer] for peer in (GLOO, STOCK) if peer in timing.seconds}
    peers[BEST] = min(peers.values())
    for name, seconds in timing.seconds.items():
        if name in peers:
            continue
        # What stands behind our name is another kind of memory for the same tensors.
        ours = case + name.removeprefix(OURS)
        for peer, peer_seconds in peers.items():
            target = target_of(timing.operation, timing.num_bytes, num_ranks, peer)
            yield Record("comm", ours, "time_per_call", 1e6 * seconds, "us", peer, 1e6 * peer_seconds, target)


def render_table(records: Sequence[Record]) -> str:
    """Return one line per case: our time, each peer's, and the ratios; ``!`` marks a target that is not met."""
    cases: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.peer:
            cases.setdefault(record.case, {})[record.peer] = record
    rows = []
    for case, by_peer in cases.items():
        row = [case, f"{by_peer[GLOO].value:.1f}"]
        for peer in (GLOO, STOCK, BEST):
            record = by_peer.get(peer)
            if peer != BEST:
                row.append("-" if record is None else f"{record.peer_value:.1f}")
            row.append("-" if record is None else _render_ratio(record))
        rows.append(row)
    return render_columns(("time per call, us", "ours", "gloo", "ratio", "MPI", "ratio", "better's ratio"), rows)


def _render_ratio(record: Record) -> str:
    asked = "" if record.target is None else f" ({'' if record.ok else '! '}{record.target:g})"
    return f"{record.ratio:.2f}{asked}"


def render_verdict(records: Sequence[Record]) -> str:
    """Return how many targets are met."""
    judged = [record for record in records if record.ok is not None]
    met = sum(bool(record.ok) for record in judged)
    return f"{met} of {len(judged)} targets met; in brackets the ratio asked for, ! where it is not reached\n"
