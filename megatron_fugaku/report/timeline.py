"""The recorded timeline of a step: spans per rank, pipeline lanes and the bubble."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_fugaku.errors import DataError
from megatron_fugaku.report.files import read_json_lines

#: Up to this many ranks get a lane each; beyond it, one rank stands for each pipeline stage.
MAX_LANES = 16


@dataclass(frozen=True)
class Span:
    """What a rank did from ``start_s`` to ``end_s``, in seconds since the step began on every rank."""

    rank: int
    iteration: int
    name: str
    category: str
    start_s: float
    end_s: float
    microbatch: int | None
    pipeline_rank: int
    tensor_rank: int
    data_rank: int

    @property
    def is_forward(self) -> bool:
        """Whether it is the forward pass of a micro-batch."""
        return self.category == "compute" and self.name.startswith("forward")

    @property
    def is_backward(self) -> bool:
        """Whether it is the backward pass of a micro-batch."""
        return self.category == "compute" and self.name.startswith("backward")


@dataclass(frozen=True)
class Lane:
    """One row of the picture: a rank's spans."""

    label: str
    spans: tuple[Span, ...]


def load_timeline(run_dir: str | Path) -> tuple[dict[int, list[Span]], list[str]]:
    """Read ``timeline/rank*.jsonl``.

    The spans of a step stand in the order in which they began, or in that in which they ended. Of a step recorded
    twice, after a resume, the later recording counts.

    Returns:
        spans per iteration, in order of iteration, and notes about lines that were cut off. Both are empty when the
        run recorded no timeline.

    Raises:
        DataError: a span lacks a field.
    """
    found: dict[int, list[Span]] = {}
    notes: list[str] = []
    for path in sorted((Path(run_dir) / "timeline").glob("rank*.jsonl")):
        match = re.fullmatch(r"rank(\d+)\.jsonl", path.name)
        if match is None:
            continue
        records, file_notes = read_json_lines(path)
        notes += file_notes
        for iteration, spans in _latest_recordings(path, int(match[1]), records).items():
            found.setdefault(iteration, []).extend(spans)
    return dict(sorted(found.items())), notes


def _latest_recordings(path: Path, rank: int, records: Iterable[tuple[int, dict[str, Any]]]) -> dict[int, list[Span]]:
    recordings: dict[int, list[Span]] = {}
    previous: Span | None = None
    for number, record in records:
        try:
            microbatch = record.get("microbatch")
            span = Span(rank, int(record["iteration"]), str(record["name"]), str(record["category"]),
                        float(record["start_s"]), float(record["end_s"]),
                        None if microbatch is None else int(microbatch), int(record["pipeline_rank"]),
                        int(record["tensor_rank"]), int(record["data_rank"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {number}: not a span: {error}", "the timeline cannot be drawn from it",
                            "repair or remove that line", f"{path}:{number}") from error
        # Only a new recording goes back in both.
        if (previous is None or span.iteration != previous.iteration
                or (span.start_s < previous.start_s and span.end_s < previous.end_s)):
            recordings[span.iteration] = []
        previous = span
        recordings[span.iteration].append(span)
    return recordings


def build_lanes(spans: Sequence[Span]) -> list[Lane]:
    """Group the spans of one step into lanes: every rank up to :data:`MAX_LANES`, else tensor and data rank 0."""
    ranks = {span.rank for span in spans}
    chosen = spans
    if len(ranks) > MAX_LANES:
        chosen = [span for span in spans if span.tensor_rank == 0 and span.data_rank == 0]
    by_place: dict[tuple[int, int, int, int], list[Span]] = {}
    for span in chosen:
        place = (span.data_rank, span.tensor_rank, span.pipeline_rank, span.rank)
        by_place.setdefault(place, []).append(span)
    sizes = [len({place[axis] for place in by_place}) for axis in range(3)]
    lanes = []
    for place in sorted(by_place):
        parts = [f"{name}{place[axis]}" for name, axis in (("pp", 2), ("tp", 1), ("dp", 0))
                 if axis == 2 or sizes[axis] > 1]
        ordered = sorted(by_place[place], key=lambda span: (span.start_s, -span.end_s))
        lanes.append(Lane(" ".join(parts), tuple(ordered)))
    return lanes


def covered_s(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of ``(start, end)`` intervals."""
    total, reach = 0.0, -math.inf
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total


def bubble_share(spans: Sequence[Span]) -> float | None:
    """Return the share of the pipeline's time in which a rank runs neither forward nor backward, mean over ranks.

    The pipeline's time goes from the first forward pass to the end of the last backward pass over all ranks. Waiting
    for and sending activations counts as bubble; tensor-parallel communication inside a pass does not.

    Returns:
        A share between 0 and 1, or None when the step recorded no pass.
    """
    passes: dict[int, list[tuple[float, float]]] = {}
    for span in spans:
        if span.is_forward or span.is_backward:
            passes.setdefault(span.rank, []).append((span.start_s, span.end_s))
    if not passes:
        return None
    window_s = (max(end for items in passes.values() for _, end in items)
                - min(start for items in passes.values() for start, _ in items))
    if window_s <= 0:
        return None
    return 1.0 - sum(covered_s(items) for items in passes.values()) / (window_s * len(passes))


def ideal_bubble_share(pipeline_size: int, num_microbatches: int, num_model_chunks: int = 1) -> float:
    """Return the bubble of 1F1B with equal stages and free communication, as a share of the pipeline's time.

    ``(p - 1) / (v m + p - 1)`` after Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters
    Using Megatron-LM" (2021), section 2.2, which states it relative to the ideal time instead.
    """
    return (pipeline_size - 1) / (num_model_chunks * num_microbatches + pipeline_size - 1)
