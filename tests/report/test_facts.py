import math

import pytest

from megatron_fugaku.config import build_config
from megatron_fugaku.errors import DataError
from megatron_fugaku.report import facts


@pytest.mark.parametrize(("value", "text"), [
    (7, "7"), (3302.4, "3,302"), (0.1234, "0.123"), (12_345, "12.3 k"), (11.3e6, "11.3 M"), (13.16e9, "13.2 B"),
    (4e11, "400 B"), (math.nan, "–")])
def test_counts(value, text):
    assert facts.format_count(value) == text


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0 ms"), (2.7e-6, "2.7 µs"), (0.0123, "12.3 ms"), (1.0, "1 s"), (62.31, "62.3 s"),
    (312, "5 min 12 s"), (7500, "2 h 5 min"), (math.nan, "–")])
def test_durations(value, text):
    assert facts.format_duration(value) == text


def test_flops():
    assert facts.format_flops(3.21e12) == "3.21 TFLOP/s"
    assert facts.format_flops(224e9) == "224 GFLOP/s"
    assert facts.format_flops(5.0) == "5 FLOP/s"


def test_only_settings_that_differ_from_defaults_are_named():
    config = build_config({
        "name": "x", "model": {"num_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 32},
        "train": {"global_batch_size": 4, "micro_batch_size": 1}, "optimizer": {"lr": 1e-3}})
    assert facts.differing_settings(config) == {
        "name": "x", "model.num_layers": 2, "model.hidden_size": 64, "model.num_attention_heads": 4,
        "model.seq_length": 32, "train.global_batch_size": 4, "optimizer.lr": 1e-3}


def test_values_are_escaped():
    shown = facts.render_value({"<a>": ["<b>", {"c": "<d>"}], "e": [{"f": "<g>"}]})
    assert "<b>" not in shown and "&lt;a&gt;" in shown and "&lt;d&gt;" in shown and "&lt;g&gt;" in shown


def test_a_broken_manifest_is_an_error(tmp_path):
    assert facts.load_manifest(tmp_path) == {}
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(DataError, match="holds list, not an object"):
        facts.load_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        facts.load_manifest(tmp_path)
