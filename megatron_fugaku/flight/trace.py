"""The recorded operations as a Chrome trace, which https://ui.perfetto.dev opens.

Format: "Trace Event Format" (Google), duration events of phase ``X`` in microseconds and metadata of phase ``M``.
"""

from __future__ import annotations

from collections.abc import Sequence

from megatron_fugaku.flight.files import RankRecord


def build_flight_trace(records: Sequence[RankRecord]) -> dict:
    """Return one process per rank, one thread per group; what is not over ends when the rank was last seen alive."""
    begin_s = min((operation.start_s for record in records for operation in record.operations), default=0.0)
    metadata: list[dict] = []
    events: list[dict] = []
    for record in records:
        metadata.append({"name": "process_name", "ph": "M", "pid": record.rank,
                         "args": {"name": f"rank {record.rank} on {record.host}"}})
        metadata.append({"name": "process_sort_index", "ph": "M", "pid": record.rank,
                         "args": {"sort_index": record.rank}})
        threads = {name: number for number, name in enumerate(dict.fromkeys(
            operation.group.name for operation in record.operations))}
        labels = {operation.group.name: operation.group.label for operation in record.operations}
        metadata += [{"name": "thread_name", "ph": "M", "pid": record.rank, "tid": number,
                      "args": {"name": labels[name]}} for name, number in threads.items()]
        for operation in record.operations:
            is_open = operation.end_s is None
            end_s = max(record.beat_s, operation.start_s) if is_open else operation.end_s
            events.append({
                "name": operation.name + (" (not over)" if is_open else ""), "cat": "comm", "ph": "X",
                "pid": record.rank, "tid": threads[operation.group.name],
                "ts": round((operation.start_s - begin_s) * 1e6, 3), "dur": round((end_s - operation.start_s) * 1e6, 3),
                "args": {"number": operation.sequence, "bytes": operation.num_bytes, "way": operation.way,
                         "failed": operation.has_failed}})
    return {"traceEvents": metadata + events, "displayTimeUnit": "ms"}
