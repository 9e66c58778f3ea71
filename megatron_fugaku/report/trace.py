"""The recorded timeline as a Chrome trace, which https://ui.perfetto.dev and chrome://tracing open.

Format: "Trace Event Format" (Google), duration events of phase ``X`` in microseconds and metadata of phase ``M``.
"""

from __future__ import annotations

import json
from pathlib import Path

from megatron_fugaku.errors import DataError
from megatron_fugaku.report.files import write_text
from megatron_fugaku.report.metrics import TIME_CATEGORIES
from megatron_fugaku.report.timeline import Span, load_timeline

_MICROSECONDS = 1e6


def build_trace(timeline: dict[int, list[Span]]) -> dict:
    """Turn spans per iteration into a trace: one process per rank, one thread per category, steps one after another."""
    events: list[dict] = []
    threads: set[tuple[int, str]] = set()
    names: dict[int, str] = {}
    offset_s = 0.0
    for spans in timeline.values():
        for span in spans:
            names[span.rank] = (f"rank {span.rank} (pp{span.pipeline_rank} tp{span.tensor_rank} "
                                f"dp{span.data_rank})")
            threads.add((span.rank, span.category))
            arguments: dict[str, int] = {"iteration": span.iteration}
            if span.microbatch is not None:
                arguments["microbatch"] = span.microbatch
            events.append({
                "name": span.name if span.microbatch is None else f"{span.name} {span.microbatch}",
                "cat": span.category, "ph": "X", "pid": span.rank, "tid": _thread(span.category),
                "ts": round((offset_s + span.start_s) * _MICROSECONDS, 3),
                "dur": round((span.end_s - span.start_s) * _MICROSECONDS, 3), "args": arguments,
            })
        offset_s += max(span.end_s for span in spans) * 1.02
    metadata = [{"name": "process_name", "ph": "M", "pid": rank, "args": {"name": name}}
                for rank, name in sorted(names.items())]
    metadata += [{"name": "process_sort_index", "ph": "M", "pid": rank, "args": {"sort_index": rank}}
                 for rank in sorted(names)]
    metadata += [{"name": "thread_name", "ph": "M", "pid": rank, "tid": _thread(category), "args": {"name": category}}
                 for rank, category in sorted(threads)]
    return {"traceEvents": metadata + events, "displayTimeUnit": "ms"}


def _thread(category: str) -> int:
    return TIME_CATEGORIES.index(category) if category in TIME_CATEGORIES else len(TIME_CATEGORIES)


def save_trace(run_dir: str | Path, path: str | Path) -> Path:
    """Write the timeline of a run folder as a Chrome trace.

    Raises:
        DataError: the run recorded no timeline, or ``path`` cannot be written.
    """
    timeline, _ = load_timeline(run_dir)
    if not timeline:
        raise DataError(f"{run_dir} has no timeline", "a trace is made from the steps whose timeline was recorded",
                        "name steps in logging.timeline_iterations and train again", "logging.timeline_iterations")
    write_text(Path(path), json.dumps(build_trace(timeline)) + "\n")
    return Path(path)
