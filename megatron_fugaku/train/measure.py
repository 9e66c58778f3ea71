"""Where a step's time goes, and the timeline of chosen steps."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

from megatron_fugaku import comm

AXES = ("tp", "pp", "dp")
TIME_KEYS = ("compute", *AXES, "optimizer", "data", "other")


def communication_seconds(axes: dict[str, str]) -> Counter:
    """Return seconds spent inside the MPI backend since its statistics were reset, by parallel dimension.

    Args:
        axes: process-group name to ``tp``, ``pp`` or ``dp``; groups of no dimension (the world, the group of the
            gradient norm) count as ``other``.
    """
    seconds: Counter = Counter()
    for entry in comm.statistics():
        seconds[axes.get(entry.group_name, "other")] += entry.wait_s
    return seconds


@dataclass
class StepClock:
    """Splits one step into compute, communication per dimension, optimizer and data reading.

    Waiting for a pipeline neighbour counts as ``pp``: it holds the pipeline bubble.
    """

    axes: dict[str, str]
    data_s: float = 0.0
    _start: float = 0.0
    _forward_backward_s: float = 0.0
    _comm_before_optimizer: Counter = field(default_factory=Counter)

    def start(self) -> None:
        """Begin a step."""
        comm.reset_statistics()
        self.data_s = 0.0
        self._start = time.perf_counter()

    def forward_backward_done(self) -> None:
        """Mark the end of forward, backward and gradient reduction."""
        self._forward_backward_s = time.perf_counter() - self._start
        self._comm_before_optimizer = communication_seconds(self.axes)

    def stop(self) -> tuple[float, dict[str, float]]:
        """End the step; return its seconds and their split, keys :data:`TIME_KEYS`, whose sum they are."""
        step_s = time.perf_counter() - self._start
        total = communication_seconds(self.axes)
        early = self._comm_before_optimizer
        split = {axis: total[axis] for axis in AXES}
        split["data"] = self.data_s
        split["compute"] = max(0.0, self._forward_backward_s - sum(early.values()) - self.data_s)
        split["optimizer"] = max(0.0, step_s - self._forward_backward_s - sum((total - early).values()))
        split["other"] = max(0.0, step_s - sum(split.values()))
        return step_s, {key: split[key] for key in TIME_KEYS}


@dataclass(frozen=True)
class Span:
    """One piece of a rank's work: seconds on the clock of :func:`time.perf_counter`."""

    name: str
    category: str
    start_s: float
    end_s: float
    microbatch: int | None = None


class TimelineRecorder:
    """Records the spans of a step. It stands where megatron-core's schedules expect their ``timers``: they call
    ``timers(name, log_level=…).start(barrier=…)`` and ``timers(name).stop()``."""

    _NAMES: ClassVar = {"forward-compute": ("forward", "compute"), "backward-compute": ("backward", "compute")}

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._counts: Counter = Counter()
        self._open: dict[str, float] = {}

    def __call__(self, name: str, log_level: int | None = None) -> _TimelineTimer:
        return _TimelineTimer(self, name)

    def open(self, name: str) -> None:
        """Begin a span."""
        self._open[name] = time.perf_counter()

    def close(self, name: str) -> None:
        """End a span; names that the timeline does not show are dropped."""
        start = self._open.pop(name, None)
        if start is None or name not in self._NAMES:
            return
        label, category = self._NAMES[name]
        self.spans.append(Span(label, category, start, time.perf_counter(), self._counts[label]))
        self._counts[label] += 1


@dataclass(frozen=True)
class _TimelineTimer:
    recorder: TimelineRecorder
    name: str

    def start(self, barrier: bool = False) -> None:
        self.recorder.open(self.name)

    def stop(self, barrier: bool = False) -> None:
        self.recorder.close(self.name)


def communication_spans(axes: dict[str, str]) -> list[Span]:
    """Return the MPI backend's trace as spans; operations of no parallel dimension are left out."""
    return [
        Span(event.operation, axes[event.group_name], event.start_s, event.end_s)
        for event in comm.drain_trace() if event.group_name in axes
    ]
