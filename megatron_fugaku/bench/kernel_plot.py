"""The picture of ``mfugaku bench kernels --plot``: every step of a layer beside the roof that memory and pipes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from megatron_fugaku.bench.a64fx_cycles import NUM_CORES
from megatron_fugaku.bench.figure import figure_into
from megatron_fugaku.bench.kernel_score import StepTime
from megatron_fugaku.errors import EnvironmentError


def plot_score(path: Path, passes: Mapping[str, Sequence[StepTime]], torch: str) -> None:
    """Draw the modelled times of all steps into ``path``; its ending chooses the format.

    Raises:
        EnvironmentError: there is no score, matplotlib is missing, or the file cannot be written.
    """
    if not passes:
        raise EnvironmentError("there is no score to draw", "the picture compares with stock torch in all of a layer",
                               "leave out --cases and --no-peers, or leave out --plot", "--plot")
    with figure_into(path, 1, len(passes), figsize=(7 * len(passes), 6), sharex=True) as (figure, panels):
        for panel, (name, times) in zip(panels[0], passes.items(), strict=True):
            _plot_pass(panel, name, times, torch)
        handles, labels = panels[0][0].get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True))  # one of each
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown), fontsize="small")
        figure.suptitle(f"One layer of the 13B model on the {NUM_CORES} cores of an A64FX: modelled, not measured")


def _plot_pass(panel, name: str, times: Sequence[StepTime], torch: str) -> None:
    """Bars from low to high: above torch's, below with our ops; a tick where the roof is."""
    for row, time in enumerate(times):
        for offset, bounds, color, label in ((-0.2, time.stock_ms, "tab:gray", f"torch {torch}"),
                                             (0.2, time.ms if time.is_ours else None, "tab:blue", "ours")):
            if bounds is not None:
                width = max(bounds[1] - bounds[0], 0.03 * bounds[0])
                panel.barh(row + offset, width, 0.36, bounds[0], color=color, label=label)
        roof = [time.step.roof_ms] * 2
        panel.plot(roof, [row - 0.45, row + 0.45], color="black", label="roof: memory, multiply-adds")
    panel.set_xscale("log")
    panel.set_yticks(range(len(times)), [time.step.name for time in times])
    panel.invert_yaxis()
    panel.set(title=name, xlabel="ms, from low to high")
    panel.grid(axis="x", alpha=0.3)
