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


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be written: No such file"):
        write_text(tmp_path / "no" / "report.html", "x")
