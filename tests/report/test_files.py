import os

import pytest

from megatron_fugaku.errors import DataError
from megatron_fugaku.report.files import read_json_lines, write_text


def test_half_a_last_line_is_left_out_with_a_note(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "b"')
    records, notes = read_json_lines(path)
    assert records == [(1, {"a": 1})]
    assert notes == ["Line 2 of metrics.jsonl is cut off; it was left out."]


def test_a_line_appended_to_half_a_line_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event":"train","time_s":{"compute":0.{"event":"start","iteration":4}\n{"event":"end"}\n')
    records, notes = read_json_lines(path)
    assert [record for _, record in records] == [{"event": "start", "iteration": 4}, {"event": "end"}]
    assert len(notes) == 1


def test_bytes_cut_inside_a_character_do_not_stop_the_reader(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_bytes('{"text": "日本"}\n{"text": "日'.encode()[:-1])
    records, notes = read_json_lines(path)
    assert records == [(1, {"text": "日本"})] and len(notes) == 1


def test_write_leaves_no_temporary_file_and_replaces(tmp_path):
    path = tmp_path / "report.html"
    write_text(path, "one")
    write_text(path, "二")
    assert path.read_text(encoding="utf-8") == "二"
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_text(path, "old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DataError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["report.html"]


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be written: No such file"):
        write_text(tmp_path / "no" / "report.html", "x")
