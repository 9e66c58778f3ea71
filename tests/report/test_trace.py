import json

import pytest

from megatron_fugaku.errors import DataError
from megatron_fugaku.report.timeline import load_timeline
from megatron_fugaku.report.trace import build_trace, save_trace


def test_every_span_becomes_an_event_of_its_rank_and_category(run_folder, tmp_path):
    path = save_trace(run_folder, tmp_path / "trace.json")
    events = json.loads(path.read_text())["traceEvents"]
    timeline, _ = load_timeline(run_folder)
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) == len(timeline[3])
    first = timeline[3][0]
    assert spans[0]["ts"] == pytest.approx(first.start_s * 1e6) and spans[0]["pid"] == first.rank
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names[3] == "rank 3 (pp1 tp1 dp0)"
    threads = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in spans} == threads


def test_steps_follow_each_other(run_folder):
    timeline, _ = load_timeline(run_folder)
    events = build_trace({3: timeline[3], 5: timeline[3]})["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    half = len(spans) // 2
    assert min(event["ts"] for event in spans[half:]) > max(event["ts"] + event["dur"] for event in spans[:half])


def test_no_timeline_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(DataError, match="has no timeline"):
        save_trace(tmp_path, tmp_path / "trace.json")
    assert list(tmp_path.iterdir()) == []
