"""The figures of ``mfugaku bench comm --simulate``: collectives by size, and a step's communication by placement."""

from __future__ import annotations

from pathlib import Path

from megatron_fugaku.bench.figure import figure_into
from megatron_fugaku.bench.torus import BOUND, CallTimes, Simulation
from megatron_fugaku.plan.compare import Variant
from megatron_fugaku.plan.cost_model import WITH_OVERHEADS, CostModel
from megatron_fugaku.plan.traffic import Traffic


def plot_simulation(path: Path, simulation: Simulation, calls: list[CallTimes],
                    steps: list[tuple[Traffic, CostModel, list[Variant]]]) -> None:
    """Draw times with overheads into ``path``; its ending chooses the format.

    Raises:
        EnvironmentError: matplotlib is missing, or the file cannot be written.
    """
    shown = [(step_traffic, variants) for step_traffic, model, variants in steps if model is WITH_OVERHEADS]
    num_rows = len(simulation.dimensions) + len(shown)
    with figure_into(path, num_rows, 1, figsize=(9, 3.6 * num_rows)) as (figure, panels):
        panels = list(panels[:, 0])
        for dimension in simulation.dimensions:
            _plot_calls(panels.pop(0), simulation, dimension, [call for call in calls if call.dimension == dimension
                                                               and call.model is WITH_OVERHEADS])
        for step_traffic, variants in shown:
            _plot_step(panels.pop(0), step_traffic, variants)
        figure.suptitle(f"{simulation.torus.describe()}: modelled with overheads, not measured")


def _plot_calls(panel, simulation: Simulation, dimension: str, calls: list[CallTimes]) -> None:
    sizes = [call.num_bytes for call in calls]
    for name in calls[0].seconds:
        panel.loglog(sizes, [1e6 * call.seconds[name] for call in calls], marker="o", markersize=3, label=name)
    panel.loglog(sizes, [1e6 * call.bound for call in calls], color="black", linestyle="--", label=BOUND)
    panel.set(title=f"all-reduce, {simulation.explain_groups(dimension)}", xlabel="bytes", ylabel="us")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")


def _plot_step(panel, step_traffic: Traffic, variants: list[Variant]) -> None:
    names = [variant.name for variant in variants]
    left = [0.0] * len(variants)
    for kind in variants[0].time.seconds:
        widths = [1e3 * variant.time.seconds[kind] for variant in variants]
        panel.barh(names, widths, left=left, label=kind.upper() if len(kind) == 2 else kind)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    panel.invert_yaxis()
    panel.set(title=f"a step of {step_traffic.name}", xlabel="ms")
    panel.legend(fontsize="small")
