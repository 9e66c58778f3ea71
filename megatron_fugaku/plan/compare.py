"""A step's communication on several placements with several algorithms, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from megatron_fugaku.plan.cost_model import CostModel
from megatron_fugaku.plan.rank_map import RankMap, row_order
from megatron_fugaku.plan.step_time import FLAT_RINGS, FUJITSU, LANES, StepModel, StepTime
from megatron_fugaku.plan.traffic import Traffic

ROW_ORDER, SEARCHED = "row order", "searched map"


@dataclass(frozen=True)
class Variant:
    """One way to communicate, with its time.

    Attributes:
        placement: where the ranks are.
        algorithm: how they reduce.
        payload: "" as configured, or "16-bit".
        time: seconds per phase.
    """

    placement: str
    algorithm: str
    payload: str
    time: StepTime

    @property
    def name(self) -> str:
        """``searched map, lanes, 16-bit``."""
        return ", ".join(part for part in (self.placement, self.algorithm, self.payload) if part)


class Comparison:
    """Placements whose link loads are measured once, for several traffics and cost models."""

    def __init__(self, searched: RankMap, others: dict[str, RankMap] | None = None):
        """Take the map found and further maps by name; row order is always among them."""
        torus, ranks = searched.torus, searched.ranks
        self._models = {ROW_ORDER: StepModel(torus, ranks, row_order(torus, searched.ranks_per_node))}
        self._models |= {name: StepModel.of_map(other) for name, other in (others or {}).items()}
        self._models[SEARCHED] = StepModel.of_map(searched)

    def model_of(self, placement: str) -> StepModel:
        """Return the model of a placement."""
        return self._models[placement]

    def variants(self, step_traffic: Traffic, cost: CostModel,
                 payloads: dict[str, float] | None = None) -> list[Variant]:
        """Return every placement with every algorithm that can run on it.

        Args:
            step_traffic: what a step sends.
            cost: what a message costs.
            payloads: further payloads for lanes: factor on all bytes, by name.
        """
        found = []
        for placement, model in self._models.items():
            found += [Variant(placement, algorithm, "", model.step(step_traffic, algorithm, cost))
                      for algorithm in (FLAT_RINGS, FUJITSU)]
            if model.rank_map is not None:
                found += [Variant(placement, LANES, payload, model.step(step_traffic.scaled(factor), LANES, cost))
                          for payload, factor in {"": 1.0, **(payloads or {})}.items()]
        return found


def render_variants(variants: Sequence[Variant]) -> str:
    """Return a table in milliseconds, one line per variant, with how many times as long as the last each takes."""
    kinds = list(variants[0].time.seconds)
    header = ["ms per step", *(kind.upper() if len(kind) == 2 else kind for kind in kinds), "sum", "ratio"]
    last = variants[-1].time.total
    rows = [[variant.name, *(f"{1e3 * variant.time.seconds[kind]:.1f}" for kind in kinds),
             f"{1e3 * variant.time.total:.1f}", f"{variant.time.total / last:.2f}" if last else "-"]
            for variant in variants]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return "".join("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                        zip(row[1:], widths[1:], strict=True))]) + "\n"
                   for row in (header, *rows))
