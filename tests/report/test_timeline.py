import json

import pytest

from megatron_fugaku.errors import DataError
from megatron_fugaku.report.timeline import (
    Span,
    bubble_share,
    build_lanes,
    covered_s,
    ideal_bubble_share,
    load_timeline,
)


def span(rank, name, start_s, end_s, category="compute"):
    return Span(rank, 1, name, category, start_s, end_s, 0, rank, 0, 0)


def test_spans_of_all_ranks_are_read_by_iteration(run_folder):
    timeline, notes = load_timeline(run_folder)
    assert list(timeline) == [3] and notes == []
    assert {item.rank for item in timeline[3]} == {0, 1, 2, 3}
    assert sum(item.is_forward for item in timeline[3]) == sum(item.is_backward for item in timeline[3]) == 4 * 8


def test_no_timeline_is_no_error(tmp_path):
    assert load_timeline(tmp_path) == ({}, [])


def test_the_later_of_two_recordings_of_a_step_counts(run_folder):
    once, _ = load_timeline(run_folder)
    for path in (run_folder / "timeline").iterdir():
        path.write_text(path.read_text() * 2)
    twice, _ = load_timeline(run_folder)
    assert twice == once


def test_spans_written_as_they_begin_are_one_recording(run_folder):
    once, _ = load_timeline(run_folder)
    for path in (run_folder / "timeline").iterdir():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines.sort(key=lambda line: line["start_s"])
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    begun, _ = load_timeline(run_folder)
    assert len(begun[3]) == len(once[3])


def test_a_span_without_a_field_is_an_error(run_folder):
    path = run_folder / "timeline" / "rank00001.jsonl"
    path.write_text('{"iteration": 3}\n')
    with pytest.raises(DataError, match=r"rank00001\.jsonl, line 1: not a span: 'name'"):
        load_timeline(run_folder)


def test_covered_time_counts_overlaps_once():
    assert covered_s([]) == 0
    assert covered_s([(3, 4), (0, 2), (1, 2.5), (0.5, 1)]) == pytest.approx(3.5)


def test_bubble_of_a_pipeline_with_one_micro_batch_is_a_half():
    spans = [span(0, "forward", 0, 1), span(1, "forward", 1, 2), span(1, "backward", 2, 4), span(0, "backward", 4, 6),
             span(1, "recv_forward", 0, 1, "pp"), span(0, "optimizer", 6, 9, "optimizer")]
    assert bubble_share(spans) == pytest.approx(0.5) == pytest.approx(ideal_bubble_share(2, 1))


def test_bubble_of_a_simulated_1f1b_is_just_above_the_ideal(make_run_folder):
    timeline, _ = load_timeline(make_run_folder(pipeline=4, tensor=1, microbatches=12))
    ideal = ideal_bubble_share(4, 12)
    assert ideal == pytest.approx(3 / 15)
    assert ideal < bubble_share(timeline[3]) < ideal + 0.04


def test_no_pass_has_no_bubble():
    assert bubble_share([span(0, "optimizer", 0, 1, "optimizer")]) is None


def test_interleaving_divides_the_ideal_bubble():
    assert ideal_bubble_share(8, 7) == pytest.approx(0.5)
    assert ideal_bubble_share(8, 7, 2) == pytest.approx(1 / 3)


def test_lanes_are_ranks_or_stages(make_run_folder):
    few, _ = load_timeline(make_run_folder("few"))
    assert [lane.label for lane in build_lanes(few[3])] == ["pp0 tp0", "pp1 tp0", "pp0 tp1", "pp1 tp1"]
    many, _ = load_timeline(make_run_folder("many", pipeline=4, tensor=2, data=4))
    assert [lane.label for lane in build_lanes(many[3])] == ["pp0", "pp1", "pp2", "pp3"]
