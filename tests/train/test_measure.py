"""The split of a step's time, and the recorder that stands for megatron-core's timers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.train import measure
from megatron_fugaku.train.measure import TIME_KEYS, StepClock, TimelineRecorder, communication_spans

AXES = {"g0": "tp", "g1": "pp", "g2": "dp", "g3": "dp"}


@dataclass
class Entry:
    group_name: str
    wait_s: float


@dataclass
class Event:
    operation: str
    group_name: str
    start_s: float
    end_s: float


class World:
    """A clock and an MPI backend of this test's making."""

    def __init__(self, monkeypatch):
        self.now, self.waits = 100.0, {}
        monkeypatch.setattr(measure.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(measure.comm, "reset_statistics", self.waits.clear)
        monkeypatch.setattr(measure.comm, "statistics", lambda: [Entry(*item) for item in self.waits.items()])

    def spend(self, seconds: float, group: str | None = None) -> None:
        self.now += seconds
        if group:
            self.waits[group] = self.waits.get(group, 0.0) + seconds


def test_time_goes_where_it_was_spent(monkeypatch):
    world = World(monkeypatch)
    clock = StepClock(AXES)
    world.spend(7.0, "g0")  # before the step: not counted
    clock.start()
    for seconds, group in ((1.0, None), (2.0, "g0"), (4.0, "g1"), (8.0, "g2"), (16.0, "g3"), (0.5, "world")):
        world.spend(seconds, group)
    world.spend(0.25)
    clock.data_s = 0.25
    clock.forward_backward_done()
    for seconds, group in ((32.0, None), (0.125, "world"), (64.0, "g2")):
        world.spend(seconds, group)
    step_s, split = clock.stop()
    assert step_s == pytest.approx(127.875)
    assert split == pytest.approx({"compute": 1.0, "tp": 2.0, "pp": 4.0, "dp": 88.0, "optimizer": 32.0, "data": 0.25,
                                   "other": 0.625})
    assert list(split) == list(TIME_KEYS)


pieces = st.lists(st.tuples(st.floats(0, 100), st.sampled_from([None, "data", *AXES, "world"])), max_size=12)


@given(pieces, pieces)
def test_the_split_sums_to_the_step(forward_backward, optimizer):
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(monkeypatch)
        clock = StepClock(AXES)
        clock.start()
        for seconds, group in forward_backward:
            world.spend(seconds, None if group == "data" else group)
            clock.data_s += seconds if group == "data" else 0.0
        clock.forward_backward_done()
        for seconds, group in optimizer:
            world.spend(seconds, None if group == "data" else group)
        step_s, split = clock.stop()
    assert sum(split.values()) == pytest.approx(step_s, abs=1e-9)
    assert all(seconds >= 0 for seconds in split.values())


def test_the_recorder_is_what_the_schedules_call():
    timers = TimelineRecorder()
    for _ in range(2):
        timers("forward-compute", log_level=2).start()
        timers("forward-compute").stop()
    timers("forward-recv", log_level=2).start(barrier=False)
    timers("forward-recv").stop()
    timers("backward-compute", log_level=2).start()
    timers("backward-compute").stop()
    timers("backward-compute").stop()  # never started again
    assert [(span.name, span.category, span.microbatch) for span in timers.spans] == [
        ("forward", "compute", 0), ("forward", "compute", 1), ("backward", "compute", 0)]
    assert all(span.start_s <= span.end_s for span in timers.spans)
    assert all(a.end_s <= b.start_s for a, b in zip(timers.spans, timers.spans[1:], strict=False))


def test_operations_of_no_dimension_are_left_out(monkeypatch):
    events = [Event("all_reduce", "g0", 1.0, 2.0), Event("barrier", "world", 2.0, 3.0), Event("send", "g1", 3.0, 4.0)]
    monkeypatch.setattr(measure.comm, "drain_trace", lambda: events)
    spans = communication_spans(AXES)
    assert [(span.name, span.category, span.start_s, span.end_s, span.microbatch) for span in spans] == [
        ("all_reduce", "tp", 1.0, 2.0, None), ("send", "pp", 3.0, 4.0, None)]
