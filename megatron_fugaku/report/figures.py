"""The pictures of a run over its steps. Each function returns an ``<svg>`` element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from megatron_fugaku.report.canvas import draw
from megatron_fugaku.report.metrics import TIME_CATEGORIES, Metrics, TrainStep
from megatron_fugaku.report.palette import stand_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN, _HEIGHT_IN = 5.2, 3.2
_MAX_POINTS = 1500
_MAX_BARS = 120

#: What a reader calls the categories of time.
CATEGORY_LABELS = {"compute": "compute", "tp": "tensor parallel", "pp": "pipeline", "dp": "data parallel",
                   "optimizer": "optimizer", "data": "data", "other": "other"}


def smooth(values: Sequence[float]) -> np.ndarray:
    """Return centred means, float64 [N], weighted by a triangle a fifteenth of the run wide, at most 51 steps.

    Values that are not finite are left out; the result is NaN only where the whole triangle holds no number.
    """
    array = np.asarray(values, dtype=np.float64)
    half = min(25, max(2, len(array) // 30))
    triangle = np.bartlett(2 * half + 3)[1:-1]
    known = np.isfinite(array)
    weights = np.convolve(known.astype(np.float64), triangle)[half:half + len(array)]
    sums = np.convolve(np.where(known, array, 0.0), triangle)[half:half + len(array)]
    return np.where(weights > 0, sums / np.where(weights > 0, weights, 1.0), math.nan)


def thin_out(values: Sequence[float] | np.ndarray, limit: int) -> np.ndarray:
    """Return means of equal groups of neighbours, at most ``limit`` of them; NaN only where a group has no number."""
    array = np.asarray(values, dtype=np.float64)
    group = -(-len(array) // limit)
    if group <= 1:
        return array
    padded = np.full(-(-len(array) // group) * group, math.nan)
    padded[: len(array)] = array
    grouped = padded.reshape(-1, group)
    counts = np.isfinite(grouped).sum(axis=1)
    sums = np.where(np.isfinite(grouped), grouped, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)


def _series(steps: Sequence[TrainStep], name: str) -> tuple[np.ndarray, np.ndarray]:
    iterations = [float(step.iteration) for step in steps]
    return thin_out(iterations, _MAX_POINTS), thin_out([getattr(step, name) for step in steps], _MAX_POINTS)


def _finish(axes: Axes, metrics: Metrics, ylabel: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    for index, start in enumerate(metrics.resumes):
        axes.axvline(start.iteration + 0.5, color=stand_in("muted"), linewidth=1.0, linestyle=(0, (3, 3)),
                     label="resumed" if index == 0 else None)


def _legend(axes: Axes, **options: object) -> None:
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(**options)


def draw_loss(metrics: Metrics) -> str:
    """Training loss, thin and smoothed, validation loss as points, resumes as dashed lines."""
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        iterations, losses = _series(metrics.train, "lm_loss")
        axes.plot(iterations, losses, color=stand_in("forward"), alpha=0.45, linewidth=0.9, label="training, per step")
        if len(metrics.train) >= 20:
            smoothed = thin_out(smooth([step.lm_loss for step in metrics.train]), _MAX_POINTS)
            axes.plot(iterations, smoothed, color=stand_in("forward"), linewidth=2.0, label="training, smoothed")
        if metrics.validations:
            axes.plot([item.iteration for item in metrics.validations],
                      [item.lm_loss for item in metrics.validations], linestyle="none", marker="o", markersize=5,
                      color=stand_in("dp"), label="validation")
        _finish(axes, metrics, "loss, nats per token")
        _legend(axes, loc="upper right")
    return draw("loss", _WIDTH_IN, _HEIGHT_IN, paint)


def draw_schedule(metrics: Metrics) -> str:
    """Learning rate and gradient norm, one above the other."""
    def paint(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.plot(*_series(metrics.train, "learning_rate"), color=stand_in("optimizer"), linewidth=1.6)
        upper.set_ylim(bottom=0.0)
        upper.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        lower.plot(*_series(metrics.train, "grad_norm"), color=stand_in("backward"), linewidth=1.0)
        lower.set_ylim(bottom=0.0)
        _finish(upper, metrics, "learning rate")
        _finish(lower, metrics, "gradient norm")
        upper.set_xlabel("")
    return draw("schedule", _WIDTH_IN, _HEIGHT_IN, paint)


def draw_throughput(metrics: Metrics) -> str:
    """Tokens per second of each step and their median."""
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(*_series(metrics.train, "tokens_per_s"), color=stand_in("forward"), linewidth=1.0, label="per step")
        median = metrics.median("tokens_per_s")
        if math.isfinite(median):
            axes.axhline(median, color=stand_in("dp"), linewidth=1.4, label="median")
        axes.set_ylim(bottom=0.0, top=axes.get_ylim()[1] * 1.15)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
        _finish(axes, metrics, "tokens per second")
        _legend(axes, loc="lower right", ncols=3)
    return draw("throughput", _WIDTH_IN, _HEIGHT_IN, paint)


def draw_time_split(metrics: Metrics) -> str:
    """A stacked bar per step (or per group of neighbouring steps, in long runs): where its seconds went."""
    steps = [step for step in metrics.train if step.time_s]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        iterations = thin_out([float(step.iteration) for step in steps], _MAX_BARS)
        width = float(np.min(np.diff(iterations))) if len(iterations) > 1 else 1.0
        bottom = np.zeros(len(iterations))
        for name in TIME_CATEGORIES:
            heights = thin_out([step.time_s.get(name, 0.0) for step in steps], _MAX_BARS)
            if not heights.any():
                continue
            axes.bar(iterations, heights, width=width * 0.94, bottom=bottom, color=stand_in(name), linewidth=0,
                     label=CATEGORY_LABELS[name])
            bottom = bottom + heights
        if not metrics.resumes:
            axes.margins(x=0.01)
        _finish(axes, metrics, "seconds per step")
        axes.grid(axis="x", visible=False)
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda at: labels[at] == "resumed")
        figure.legend([handles[at] for at in order], [labels[at] for at in order], loc="outside upper center",
                      ncols=4, columnspacing=1.2, handlelength=1.0)
    return draw("time-split", _WIDTH_IN, _HEIGHT_IN, paint)
