"""How long lanes take when they are cut into segments that follow each other through the axes.

On a torus all nodes of a group do the same at the same time, so one node tells for all: its links are servers that
handle one message after the other, its CPU is one more, and a segment's next message waits for the one before.
Within a lane a segment enters an axis only when the one `window` before it has left that axis; otherwise all would
crowd the first axis while the others idle.
"""

from __future__ import annotations

import functools
import heapq
from dataclasses import dataclass, replace

from megatron_fugaku.plan.cost_model import CostModel
from megatron_fugaku.plan.lanes import LanePlan
from megatron_fugaku.plan.tofu import NUM_INTERFACES

#: A shorter part of a lane is not worth a segment of its own.
LEAST_SEGMENT_BYTES = 2048
_SEGMENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_WINDOWS = (1, 2)
_LARGE_BYTES = float(1 << 30)
#: Beyond this times the best, more segments will not help either.
_HOPELESS = 1.05
ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER = "all_reduce", "reduce_scatter", "all_gather"
OPERATIONS = (ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER)


@dataclass(frozen=True)
class Cut:
    """Into how many segments each lane is cut, how many may be on one axis, and the time that this gives."""

    num_segments: int
    window: int
    seconds: float


def lane_phases(order: tuple[int, ...], operation: str) -> list[int]:
    """Return the dimensions that a lane passes one after the other: out for the sums, back for the gathers."""
    out = list(order) if operation != ALL_GATHER else []
    back = list(reversed(order)) if operation != REDUCE_SCATTER else []
    return out + back


def simulate(plan: LanePlan, num_bytes: float, operation: str, num_segments: int, window: int,
             model: CostModel, link_bytes_per_s: float) -> float:
    """Return the seconds of a collective.

    Args:
        plan: the lanes of the group.
        num_bytes: of the whole vector, the one that is reduced or gathered.
        operation: one of OPERATIONS.
        num_segments: per lane.
        window: segments of a lane that may be on one axis.
        model: cost of a message.
        link_bytes_per_s: of a link in one direction.
    """
    # Lanes over more ports than interfaces leave links idle part of the time, as many as there are too many.
    busy_ports = min(NUM_INTERFACES, sum(dimension.num_ports for dimension in plan.dimensions))
    rate = link_bytes_per_s * min(model.efficiency, model.injection_links / busy_ports)
    stages = []
    for lane in plan.lanes:
        segment, left, sent = num_bytes * lane.weight / num_segments, 1.0, {}
        for index in lane.order:
            sent[index] = segment * left / plan.dimensions[index].size
            left /= plan.dimensions[index].size
        row = []
        for index in lane_phases(lane.order, operation):
            dimension = plan.dimensions[index]
            server = (index, lane.directions[lane.order.index(index)] if dimension.closes else 0)
            hops = dimension.sharing * (1 if dimension.closes else dimension.size - 1)
            row.append((server, dimension.size - 1, sent[index] * dimension.sharing / rate, model.latency(hops)))
        stages.append(row)
    return _run(stages, num_segments, window, model.message_s)


def _run(stages: list[list[tuple]], num_segments: int, window: int, message_s: float) -> float:
    """Let all segments of all lanes go through their stages of (link, messages, busy seconds, latency)."""
    free: dict[tuple, float] = {}
    cpu = end = 0.0
    phase = [[0] * num_segments for _ in stages]
    step = [[0] * num_segments for _ in stages]
    waiting: dict[tuple[int, int], float] = {}
    ready = []
    for lane in range(len(stages)):
        for segment in range(num_segments):
            if segment < window:
                heapq.heappush(ready, (0.0, segment, lane))
            else:
                waiting[lane, segment] = 0.0
    while ready:
        now, segment, lane = heapq.heappop(ready)
        server, num_messages, busy, latency = stages[lane][phase[lane][segment]]
        cpu = max(cpu, now) + message_s
        done = max(cpu, free.get(server, 0.0)) + busy
        free[server] = done
        arrived = done + latency
        end = max(end, arrived)
        step[lane][segment] += 1
        if step[lane][segment] < num_messages:
            heapq.heappush(ready, (arrived, segment, lane))
            continue
        step[lane][segment] = 0
        phase[lane][segment] += 1
        behind = (lane, segment + window)
        if behind in waiting and phase[lane][segment] > phase[lane][segment + window]:
            heapq.heappush(ready, (max(waiting.pop(behind), arrived), segment + window, lane))
        if phase[lane][segment] < len(stages[lane]):
            if segment < window or phase[lane][segment - window] > phase[lane][segment]:
                heapq.heappush(ready, (arrived, segment, lane))
            else:
                waiting[lane, segment] = arrived
    if waiting:
        raise AssertionError("a segment waits for ever")
    return end


@functools.cache
def choose_cut(plan: LanePlan, num_bytes: float, operation: str, model: CostModel, link_bytes_per_s: float) -> Cut:
    """Try numbers of segments and windows, and return the fastest; the fewest segments among equals.

    Where messages cost no time but their bytes', the answer is the same for all sizes.
    """
    if not plan.lanes:
        return Cut(1, 1, 0.0)
    if model.is_fluid and num_bytes != _LARGE_BYTES:
        large = choose_cut(plan, _LARGE_BYTES, operation, model, link_bytes_per_s)
        return replace(large, seconds=large.seconds * num_bytes / _LARGE_BYTES)
    smallest = min(lane.weight for lane in plan.lanes) * num_bytes
    best = None
    for num_segments in _SEGMENTS:
        if num_segments > 1 and smallest / num_segments < LEAST_SEGMENT_BYTES:
            break
        cuts = [Cut(num_segments, window, simulate(plan, num_bytes, operation, num_segments, window, model,
                                                   link_bytes_per_s))
                for window in _WINDOWS if window <= num_segments]
        found = min(cuts, key=lambda cut: cut.seconds)
        if best is not None and found.seconds > _HOPELESS * best.seconds:
            break
        if best is None or found.seconds < best.seconds:
            best = found
    return best
