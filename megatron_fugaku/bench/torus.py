"""``mfugaku bench comm --simulate 48x6x48``: collectives and a step's communication on a torus that nobody here has.

Nothing is measured: times follow from the bytes that all groups together put on every link (plan/link_load.py) and, for
lanes, from their segments queueing at the links of a node (plan/pipeline.py). "Fluid" counts bytes alone; "with
overheads" adds what Tofu-D was measured to lose (plan/cost_model.py). What is compared with is modelled the same way,
Fujitsu MPI's rules in its favour (plan/collectives.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from megatron_fugaku.bench.records import Record, render_columns, render_size
from megatron_fugaku.bench.torus_targets import SHARE_OF_BOUND, STEP_RATIOS
from megatron_fugaku.config import RunConfig, build_config
from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.compare import SEARCHED, Comparison, Variant, render_variants
from megatron_fugaku.plan.cost_model import FLUID, MODELS, CostModel
from megatron_fugaku.plan.map_search import SearchResult, search_map
from megatron_fugaku.plan.pipeline import ALL_GATHER, REDUCE_SCATTER, choose_cut
from megatron_fugaku.plan.rank_map import RankMap, build_map
from megatron_fugaku.plan.rank_matrix import RankMatrix
from megatron_fugaku.plan.step_time import FLAT_RINGS, FUJITSU, LANES
from megatron_fugaku.plan.tofu import TofuTorus
from megatron_fugaku.plan.topology import build_torus
from megatron_fugaku.plan.torus import Torus
from megatron_fugaku.plan.traffic import DATA, TENSOR, Phase, Traffic, plan_busiest_traffic, plan_traffic, rank_matrix

BENCHMARK = "torus"
SIZES = tuple(1 << power for power in range(10, 31, 2))
BOUND, REACHABLE_BOUND = "lower bound", "lower bound at the links' measured rate"
SINGLE_LANE, DOUBLING = "a single lane", "recursive doubling"
FOLD = "fold of a unit"
PAYLOADS = {"16-bit": 0.5}

#: What of examples/fugaku_13b decides its communication.
FUGAKU_13B = {
    "name": "fugaku_13b",
    "model": {"num_layers": 40, "hidden_size": 5184, "num_attention_heads": 36, "ffn_hidden_size": 20736,
              "seq_length": 2048, "vocab_size": 48588},
    "parallel": {"tensor_model_parallel_size": 6, "pipeline_model_parallel_size": 8},
    "recompute": {"recompute_granularity": "full", "recompute_pipeline_stages": [0, 1, 2, 3]},
    "train": {"micro_batch_size": 1, "global_batch_size": 2016, "train_iters": 1},
    "optimizer": {"lr": 1e-4},
    "launch": {"num_nodes": 13824},
}
PUBLISHED_JOB = (48, 6, 48)
#: The vcoordfile of the published run is not public. This is the map that its team's words suggest: a TP group in the
#: 2 x 3 nodes A.B of a Tofu unit.
FOLD_AXES = {"tp": {"B": (3, 1), "A": (2, 1)}, "dp": {"X": (24, 1), "Z": (12, 2)},
             "pp": {"Y": (2, 1), "C": (2, 1), "Z": (2, 1)}}


@dataclass(frozen=True)
class CallTimes:
    """Seconds of one all-reduce in all groups of a dimension at once, on the searched map, by the name of the way."""

    dimension: str
    num_bytes: int
    model: CostModel
    seconds: dict[str, float]
    bound: float

    @property
    def ours(self) -> float:
        """The best of lanes, a single lane and recursive doubling, among which the size decides."""
        return min(self.seconds[name] for name in (LANES, SINGLE_LANE, DOUBLING) if name in self.seconds)


@dataclass(frozen=True)
class HalfTimes:
    """Seconds of one reduce-scatter or all-gather of the run's own vector, on the searched map."""

    dimension: str
    operation: str
    num_bytes: int
    model: CostModel
    lanes: float
    ring: float
    bound: float


class Simulation:
    """One torus and one run on it."""

    def __init__(self, shape: str, config: RunConfig | None = None):
        """Search the map.

        Args:
            shape: of the torus.
            config: the run; None takes the 13B run where the torus has its 13,824 nodes, and elsewhere one group of
                all nodes.

        Raises:
            PlanError: the shape is none, or the run does not fill it.
        """
        self.torus: Torus = build_torus(shape)
        published = build_config(FUGAKU_13B)
        if config is None and self.torus.num_nodes == published.num_ranks:
            config = published
        # Targets are those of the published run on its own nodes.
        self.is_published = config is published and self.torus.logical_sizes == PUBLISHED_JOB \
            and isinstance(self.torus, TofuTorus)
        self.config = config
        if self.config is None:
            if self.torus.num_nodes == 1:
                raise PlanError(f"the torus {shape} has one node", "nothing is sent", "give a larger one", "--simulate")
            self.ranks = RankMatrix(1, self.torus.num_nodes, 1)
            self.traffics = (Traffic("one all-reduce of all nodes", (Phase(DATA, float(1 << 30), 1),)),)
            ranks_per_node = 1
        else:
            self.ranks = rank_matrix(self.config)
            self.traffics = (plan_traffic(self.config), plan_busiest_traffic(self.config))
            ranks_per_node = self.config.launch.ranks_per_node
        self.search: SearchResult = search_map(self.ranks, self.torus, self.traffics[-1], ranks_per_node)

    @property
    def rank_map(self) -> RankMap:
        """The map found."""
        return self.search.rank_map

    @cached_property
    def comparison(self) -> Comparison:
        """The placements, their link loads measured once."""
        others = {}
        if self.is_published:
            others[FOLD] = build_map(self.ranks, self.torus, FOLD_AXES)
        return Comparison(self.rank_map, others)

    @property
    def dimensions(self) -> list[str]:
        """Dimensions whose groups use links."""
        return [name for name in (TENSOR, DATA) if self.rank_map.lanes(name).lanes]

    def own_bytes(self, dimension: str) -> int:
        """Bytes of the run's own vector of a dimension, as most stages have it."""
        return int(self.traffics[0].phase(dimension).num_bytes)

    def call_times(self, dimension: str, num_bytes: int, model: CostModel) -> CallTimes:
        """Return what one all-reduce takes with every algorithm."""
        step = self.comparison.model_of(SEARCHED)
        seconds = {name: step.collective_seconds(dimension, num_bytes, name, model)
                   for name in (LANES, FLAT_RINGS, FUJITSU)}
        seconds[DOUBLING] = step.doubling_seconds(dimension, num_bytes, model)
        bucket = step.bucket_seconds(dimension, num_bytes, model)
        if bucket is not None:
            seconds[SINGLE_LANE] = bucket
        bound = self.rank_map.lanes(dimension).bound * num_bytes / self.torus.link_bytes_per_s
        return CallTimes(dimension, num_bytes, model, seconds, bound)

    def calls(self, sizes: tuple[int, ...] = SIZES) -> list[CallTimes]:
        """Return the times of all dimensions, models and sizes, the run's own size among them."""
        return [self.call_times(dimension, num_bytes, model)
                for model in MODELS for dimension in self.dimensions
                for num_bytes in sorted({*sizes, self.own_bytes(dimension)})]

    def halves(self) -> list[HalfTimes]:
        """Return the times of the run's own vectors when they are only scattered or only gathered."""
        found = []
        for model, dimension, operation in itertools.product(MODELS, self.dimensions, (REDUCE_SCATTER, ALL_GATHER)):
            num_bytes, plan = self.own_bytes(dimension), self.rank_map.lanes(dimension)
            ring = self.comparison.model_of(SEARCHED).collective_seconds(dimension, num_bytes, FLAT_RINGS, model) / 2
            lanes = choose_cut(plan, num_bytes, operation, model, self.torus.link_bytes_per_s).seconds
            bound = plan.bound / 2 * num_bytes / self.torus.link_bytes_per_s
            found.append(HalfTimes(dimension, operation, num_bytes, model, lanes, ring, bound))
        return found

    def steps(self) -> list[tuple[Traffic, CostModel, list[Variant]]]:
        """Return the variants of a step for each traffic and model; none without a run."""
        if self.config is None:
            return []
        return [(step_traffic, model, self.comparison.variants(step_traffic, model, PAYLOADS))
                for step_traffic in self.traffics for model in MODELS]

    def explain_groups(self, dimension: str) -> str:
        """``TP 6 on B3 x C2``."""
        return f"{dimension.upper()} {self.ranks.size(dimension)} on {self.rank_map.explain_box(dimension)}"


def call_records(simulation: Simulation, calls: list[CallTimes]) -> Iterator[Record]:
    """Yield a record per call and peer."""
    for call in calls:
        where = simulation.explain_groups(call.dimension)
        case = f"all_reduce {render_size(call.num_bytes)} in groups of {where}, {call.model.name}"
        own = simulation.is_published and call.num_bytes == simulation.own_bytes(call.dimension)
        peers = {name: found for name, found in call.seconds.items() if name != LANES}
        yield from _collective_records(case, call.model, call.ours, call.bound, peers, own)


def half_records(simulation: Simulation, halves: list[HalfTimes]) -> Iterator[Record]:
    """Yield a record per reduce-scatter or all-gather and peer."""
    for half in halves:
        where = simulation.explain_groups(half.dimension)
        case = f"{half.operation} {render_size(half.num_bytes)} in groups of {where}, {half.model.name}"
        yield from _collective_records(case, half.model, half.lanes, half.bound, {FLAT_RINGS: half.ring},
                                       simulation.is_published)


def _collective_records(case: str, model: CostModel, ours: float, bound: float, peers: dict[str, float],
                        is_judged: bool) -> Iterator[Record]:
    bounds = {BOUND: bound} if model is FLUID else {BOUND: bound, REACHABLE_BOUND: bound / model.efficiency}
    for peer, seconds in {**bounds, **peers}.items():
        target = SHARE_OF_BOUND[model.name] if is_judged and peer in bounds else None
        yield Record(BENCHMARK, case, "modelled_time_per_call", 1e6 * ours, "us", peer, 1e6 * seconds, target)


def step_records(simulation: Simulation,
                 steps: list[tuple[Traffic, CostModel, list[Variant]]]) -> Iterator[Record]:
    """Yield a record per step, payload and peer: of TP and DP alone, and of all phases."""
    for step_traffic, model, variants in steps:
        ours = {variant.payload: variant for variant in variants
                if variant.placement == SEARCHED and variant.algorithm == LANES}
        for payload, mine in ours.items():
            for scope in ("TP and DP", "all phases"):
                for peer in variants:
                    if peer.payload or peer is mine:
                        continue
                    value, other = ((variant.time.collectives if scope == "TP and DP" else variant.time.total)
                                    for variant in (mine, peer))
                    if not value:
                        continue
                    target = STEP_RATIOS.get((payload, peer.name)) if simulation.is_published else None
                    case = (f"{scope} of a step of {step_traffic.name} on {simulation.ranks.world_size} ranks, "
                            f"{payload or simulation.config.train.precision}, {model.name}")
                    yield Record(BENCHMARK, case, "modelled_time_per_step", 1e3 * value, "ms", peer.name, 1e3 * other,
                                 target)


def render_calls(simulation: Simulation, calls: list[CallTimes], dimension: str, model: CostModel) -> str:
    """Return the table of one dimension and model."""
    header = ("all-reduce, us", "bound", "lanes", "doubling", "1 lane", "ring", "Fujitsu", "ours/bound", "ring/ours",
              "Fujitsu/ours")
    rows = []
    for call in calls:
        if (call.dimension, call.model) != (dimension, model):
            continue
        names = (LANES, DOUBLING, SINGLE_LANE, FLAT_RINGS, FUJITSU)
        seconds = [call.bound, *(call.seconds.get(name) for name in names)]
        rows.append([render_size(call.num_bytes),
                     *("-" if found is None else f"{1e6 * found:.1f}" for found in seconds),
                     f"{100 * call.bound / call.ours:.2f} %",
                     *(f"{call.seconds[name] / call.ours:.2f}" for name in (FLAT_RINGS, FUJITSU))])
    return f"{simulation.explain_groups(dimension)}, {model.name}\n" + render_columns(header, rows)


def render_halves(simulation: Simulation, halves: list[HalfTimes]) -> str:
    """Return the table of reduce-scatters and all-gathers."""
    header = ("the run's own vectors, us", "bound", "lanes", "ring", "lanes/bound", "ring/lanes")
    rows = [[f"{half.operation} {simulation.explain_groups(half.dimension)}, {half.model.name}",
             *(f"{1e6 * seconds:.1f}" for seconds in (half.bound, half.lanes, half.ring)),
             f"{100 * half.bound / half.lanes:.2f} %", f"{half.ring / half.lanes:.2f}"] for half in halves]
    return render_columns(header, rows)


def render_report(simulation: Simulation, calls: list[CallTimes], halves: list[HalfTimes],
                  steps: list[tuple[Traffic, CostModel, list[Variant]]], records: list[Record]) -> str:
    """Return all tables and how many targets are met."""
    parts = ["Modelled, not measured.", simulation.rank_map.explain(), ""]
    for dimension in simulation.dimensions:
        parts += [render_calls(simulation, calls, dimension, model) for model in MODELS]
    parts.append(render_halves(simulation, halves))
    for step_traffic, model, variants in steps:
        parts += [f"A step of {step_traffic.name}, {model.name}", render_variants(variants)]
    judged = [record for record in records if record.ok is not None]
    for record in judged:
        verdict = "met   " if record.ok else "MISSED"
        parts.append(f"{verdict} {record.ratio:7.4f} (target {record.target:g}) {record.case} against {record.peer}")
    if judged:
        parts.append(f"{sum(bool(record.ok) for record in judged)} of {len(judged)} targets met")
    return "\n".join(parts) + "\n"


def simulate(shape: str, config: RunConfig | None = None,
             sizes: tuple[int, ...] = SIZES) -> tuple[Simulation, list[CallTimes], list, list[Record], str]:
    """Return (simulation, calls, steps, records, report) of a torus."""
    simulation = Simulation(shape, config)
    calls, halves, steps = simulation.calls(sizes), simulation.halves(), simulation.steps()
    records = [*call_records(simulation, calls), *half_records(simulation, halves), *step_records(simulation, steps)]
    return simulation, calls, steps, records, render_report(simulation, calls, halves, steps, records)
