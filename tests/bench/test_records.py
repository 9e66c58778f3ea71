"""Records of benchmarks: ratios, targets, sizes, and how they are written."""

from __future__ import annotations

import json

import pytest

from megatron_fugaku.bench.comm_targets import BEST, GLOO, KIB, MIB, STOCK, target_of
from megatron_fugaku.bench.records import Record, parse_size, render_columns, render_json_lines, render_size


def test_a_ratio_says_how_many_times_better():
    record = Record("comm", "case", "time_per_call", 2.0, "us", GLOO, 40.0, 20.0)
    assert record.ratio == 20.0 and record.ok is True
    assert Record("comm", "case", "time_per_call", 2.0, "us", GLOO, 39.9, 20.0).ok is False


def test_a_ratio_is_written_as_it_was_judged():
    record = json.loads(Record("comm", "a", "time_per_call", 1.0, "us", "gloo", 0.949999, 0.95).to_json())
    assert record["ok"] is False and record["ratio"] < record["target"]


def test_without_a_peer_or_a_target_nothing_is_judged():
    assert Record("comm", "case", "load_average", 3.0, "processes").ok is None
    assert Record("comm", "case", "time_per_call", 2.0, "us", GLOO, 1.0).ok is None


def test_json_lines_have_all_fields_in_order():
    [line] = render_json_lines([Record("comm", "c", "time_per_call", 3.0, "us", GLOO, 10.0, 2.0)]).splitlines()
    assert list(json.loads(line).items()) == [
        ("benchmark", "comm"), ("case", "c"), ("metric", "time_per_call"), ("value", 3.0), ("unit", "us"),
        ("peer", "gloo"), ("peer_value", 10.0), ("ratio", 10.0 / 3.0), ("target", 2.0), ("ok", True)]  # fmt: skip


@pytest.mark.parametrize(("text", "num_bytes"), [("1K", 1024), ("64KiB", 65536), ("1m", 1 << 20), ("2GB", 2 << 30),
                                                 (" 4096 ", 4096), ("1000", 1000)])
def test_sizes_are_read(text, num_bytes):
    assert parse_size(text) == num_bytes


@pytest.mark.parametrize("text", ["", "0", "-1K", "1.5M", "K", "ten"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_size(text)


def test_sizes_are_written():
    assert [render_size(n) for n in (1, 1000, 1024, 3 << 20, 1 << 30)] == ["1 B", "1000 B", "1 KiB", "3 MiB", "1 GiB"]


def test_columns_are_aligned():
    assert render_columns(("a", "b"), [("long name", "1"), ("x", "234")]) == \
        "a            b\nlong name    1\nx          234\n"


@pytest.mark.parametrize(("operation", "num_bytes", "num_ranks", "peer", "target"), [
    ("all_reduce", 16 * KIB, 2, GLOO, 20), ("all_reduce", MIB, 2, GLOO, 10), ("all_reduce", 256 * MIB, 2, GLOO, 5),
    ("all_reduce", 256 * KIB, 2, GLOO, None), ("all_reduce", 64 * MIB, 2, STOCK, 5),
    ("all_reduce", 16 * KIB, 4, GLOO, None), ("reduce_scatter", MIB, 2, GLOO, 20), ("all_gather", MIB, 2, GLOO, 10),
    ("all_gather", KIB, 2, GLOO, 20), ("all_reduce", 64 * MIB, 4, BEST, 0.95), ("all_gather", 7, 3, BEST, 0.95),
])
def test_targets(operation, num_bytes, num_ranks, peer, target):
    assert target_of(operation, num_bytes, num_ranks, peer) == target
