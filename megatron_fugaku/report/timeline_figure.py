"""The picture of a pipeline's timeline: a lane per rank, passes as bars, communication as thin bars below them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from megatron_fugaku.report.canvas import draw
from megatron_fugaku.report.palette import stand_in
from megatron_fugaku.report.timeline import Lane, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN, _LANE_IN, _FRAME_IN = 10.6, 0.46, 1.05
#: Bars of one kind closer together than this share of the picture are drawn as one.
_MERGE_SHARE = 1.0 / 3000
_DIGIT_IN = 0.075

_LABELS = {"forward": "forward", "backward": "backward", "compute": "other compute", "tp": "tensor parallel",
           "pp": "pipeline send/receive", "dp": "data parallel", "optimizer": "optimizer", "data": "data"}
_THIN = ("tp", "pp", "dp")


def _kind(span: Span) -> str:
    if span.is_forward:
        return "forward"
    if span.is_backward:
        return "backward"
    return span.category if span.category in _LABELS else "compute"


def merge_bars(intervals: Iterable[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Return ``(start, length)`` of the intervals, neighbours less than ``gap`` apart joined."""
    merged: list[list[float]] = []
    for start, end in sorted(intervals):
        if merged and start - merged[-1][1] < gap:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return [(start, end - start) for start, end in merged]


def draw_timeline(lanes: Sequence[Lane], name: str = "timeline") -> str:
    """Draw one step. Numbers in the bars are micro-batches; empty places in a lane are the bubble."""
    end_s = max(span.end_s for lane in lanes for span in lane.spans)
    unit, scale = ("ms", 1e3) if end_s < 10 else ("s", 1.0)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_xlim(0.0, end_s * scale)
        axes.set_ylim(len(lanes) - 0.45, -0.6)
        used: set[str] = set()
        for row, lane in enumerate(lanes):
            used |= _paint_lane(axes, row, lane, end_s, scale)
        axes.set_yticks(range(len(lanes)), [lane.label for lane in lanes])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"{unit} since the step began")
        from matplotlib.patches import Patch
        handles = [Patch(color=stand_in(kind), label=label) for kind, label in _LABELS.items() if kind in used]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), columnspacing=1.4,
                      handlelength=1.0)
    return draw(name, _WIDTH_IN, _FRAME_IN + _LANE_IN * len(lanes), paint)


def _paint_lane(axes: Axes, row: int, lane: Lane, end_s: float, scale: float) -> set[str]:
    by_kind: dict[str, list[Span]] = {}
    for span in lane.spans:
        by_kind.setdefault(_kind(span), []).append(span)
    for kind, spans in by_kind.items():
        intervals = [(span.start_s, span.end_s) for span in spans]
        passes = kind in ("forward", "backward")
        bars = ([(start, end - start) for start, end in intervals] if passes
                else merge_bars(intervals, end_s * _MERGE_SHARE))
        top, height = (row + 0.14, 0.24) if kind in _THIN else (row - 0.38, 0.48)
        axes.broken_barh([(start * scale, length * scale) for start, length in bars], (top, height),
                         facecolors=stand_in(kind), edgecolor=stand_in("page") if passes else "none",
                         linewidth=0.5 if passes else 0.0)
        for span in spans if passes else ():
            text = "" if span.microbatch is None else str(span.microbatch)
            width_in = (span.end_s - span.start_s) / end_s * (_WIDTH_IN - 1.2)
            if text and width_in > _DIGIT_IN * (len(text) + 0.6):
                axes.text((span.start_s + span.end_s) / 2 * scale, row - 0.14, text, ha="center", va="center",
                          fontsize=8, color=stand_in("onbar"))
    return set(by_kind)
