"""YAML files, extends, scales and overrides; and that a written configuration reads back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from small_run import small_config

from megatron_fugaku.config import build_config, dump_config, load_config
from megatron_fugaku.config.load import merge, parse_override, parse_yaml
from megatron_fugaku.errors import ConfigError
from megatron_fugaku.kernels.implementations import OPERATORS


def content(**sections) -> dict:
    return small_config(Path("data/manifest.json"), Path("run"), **sections)


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, text: str | dict):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else yaml.safe_dump(text), encoding="utf-8")
        return path

    return write_file


def message_of(call) -> str:
    """The error of a call: one line of three sentences, with the key last."""
    with pytest.raises(ConfigError) as caught:
        call()
    error, message = caught.value, str(caught.value)
    assert "\n" not in message
    assert all((error.what, error.why, error.fix, error.where)), message
    assert message.endswith(f" [{error.where}]")
    assert message.startswith(error.what)
    assert "?." not in message
    assert ".." not in message.replace("...", "")
    return message


@pytest.mark.parametrize(("text", "value"), [
    ("1e-4", 1e-4), ("1E5", 1e5), ("2.0e-3", 2e-3), ("-.5e-3", -5e-4), ("5.", 5.0), (".5", 0.5), ("3", 3), ("-7", -7),
    ("1_000", 1000), ("24:00:00", "24:00:00"), ("01:30:00", "01:30:00"), ("2026-01-02", "2026-01-02"),
    ("48x6x48:torus", "48x6x48:torus"), ("1.2.3", "1.2.3"), ("1e5x", "1e5x"), ("yes", True), ("null", None), ("", None),
])
def test_scalars_are_what_people_mean(text, value):
    read = parse_yaml(text, "text")
    assert read == value
    assert type(read) is type(value)


def test_time_limits_need_no_quotes(write):
    path = write("run.yaml", yaml.safe_dump(content()) + "launch: {pjm: {elapse: 24:00:00}, slurm: {time: 10:00:00}}\n")
    launch = load_config(path, ["launch.slurm.time=12:30:00"]).launch
    assert (launch.pjm.elapse, launch.slurm.time) == ("24:00:00", "12:30:00")


def test_learning_rates_without_a_point_are_numbers(write):
    text = yaml.safe_dump(content(optimizer={"lr": "LR"})).replace("LR", "1e-4")
    assert load_config(write("run.yaml", text)).optimizer.lr == 1e-4


def test_merge_keys_of_yaml_work():
    assert parse_yaml("a: &a {p: 1, q: 2}\nb: {<<: *a, q: 3}", "text")["b"] == {"p": 1, "q": 3}


def test_files_extend_files_and_overrides_come_last(write, tmp_path):
    (tmp_path / "base").mkdir()
    write("base/base.yaml", content(train={"seed": 1, "eval_iters": 2}, scales={"toy": {"train": {"seed": 3}}}))
    write("middle.yaml", {"extends": "base/base.yaml", "train": {"seed": 2}, "name": "middle"})
    last = write("last.yaml", {"extends": "middle.yaml", "scales": {"big": {"train": {"seed": 4, "eval_iters": 5}}}})
    config = load_config(last)
    assert (config.name, config.train.seed, config.train.eval_iters) == ("middle", 2, 2)
    toy = load_config(last, ["scale=toy"])
    assert (toy.train.seed, toy.train.eval_iters, toy.scale) == (3, 2, "toy")
    both = load_config(last, ["train.seed=9", "scale=big", "train.seed=10"])
    assert (both.train.seed, both.train.eval_iters) == (10, 5)


def test_lists_are_replaced_and_sections_merged():
    base = {"a": {"x": [1, 2], "y": 1}, "b": 1}
    assert merge(base, {"a": {"x": [3]}, "b": {"z": 1}}) == {"a": {"x": [3], "y": 1}, "b": {"z": 1}}
    assert base == {"a": {"x": [1, 2], "y": 1}, "b": 1}


@pytest.mark.parametrize(("text", "nested"), [
    ("train.seed=7", {"train": {"seed": 7}}),
    ("train.eval_interval=null", {"train": {"eval_interval": None}}),
    ("optimizer.lr=1e-4", {"optimizer": {"lr": 1e-4}}),
    ("launch.environment={A: b=c}", {"launch": {"environment": {"A": "b=c"}}}),
    ("name=a=b", {"name": "a=b"}),
])
def test_overrides_are_dotted_keys_with_yaml_values(text, nested):
    assert parse_override(text) == nested


@pytest.mark.parametrize("text", ["train.seed", "=1", ".seed=1", "train..seed=1", ""])
def test_malformed_overrides_are_refused(text):
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_override(text)


def test_an_override_that_is_not_yaml_names_its_key():
    message = message_of(lambda: parse_override("train.seed=[1"))
    assert message.startswith("train.seed is not valid YAML")
    assert message.endswith("[train.seed]")


@pytest.mark.parametrize(("key", "near"), [
    ("modle", "model"), ("model.num_layer", "num_layers"), ("parallel.tensor_parallel_size", "tensor_model"),
    ("recompute.granularity", "recompute_granularity"), ("train.train_iter", "train_iters"),
    ("optimizer.learning_rate", "here are: lr, "), ("data.manifests", "manifest"), ("checkpoint.saves", "save"),
    ("logging.tensor_board", "tensorboard"), ("launch.nodes", "num_nodes"), ("launch.pjm.elapsed", "elapse"),
    ("launch.slurm.partitions", "partition"), ("kernels.gemm", "matmul"),
])
def test_unknown_keys_name_the_nearest(write, key, near):
    path = write("run.yaml", content())
    message = message_of(lambda: load_config(path, [f"{key}=1"]))
    assert f"unknown key {key}" in message
    assert near in message
    assert message.endswith(f"[{key}]")


@pytest.mark.parametrize(("override", "key"), [
    ("model.num_layers=four", "model.num_layers"), ("model.num_layers=0", "model.num_layers"),
    ("model.num_layers=2.5", "model.num_layers"), ("model.style=bert", "model.style"), ("model=5", "model"),
    ("optimizer.lr=0", "optimizer.lr"), ("optimizer.lr=.inf", "optimizer.lr"), ("optimizer.lr=.nan", "optimizer.lr"),
    ("optimizer.lr=fast", "optimizer.lr"), ("optimizer.adam_beta1=1.0", "optimizer.adam_beta1"),
    ("train.precision=fp16", "train.precision"), ("train.seed=-1", "train.seed"), ("name=a b", "name"),
    ("parallel.sequence_parallel=maybe", "parallel.sequence_parallel"), ("data.blend={ja: 0}", "data.blend.ja"),
    ("data.data_path=[{a: 1}]", "data.data_path.0"), ("recompute.recompute_pipeline_stages=[-1]",
                                                      "recompute.recompute_pipeline_stages.0"),
    ("launch.environment={A: 1}", "launch.environment.A"), ("launch.pjm.rscgrp=5", "launch.pjm.rscgrp"),
    ("checkpoint.save=5", "checkpoint.save"),
    ("kernels.matmul=mkl", "kernels.matmul"), ("logging.timeline_iterations=3", "logging.timeline_iterations"),
])
def test_wrong_types_and_ranges_name_key_and_value(write, override, key):
    path = write("run.yaml", content())
    message = message_of(lambda: load_config(path, [override]))
    assert message.endswith(f"[{key}]")
    assert str(path) in message


def test_one_word_chooses_for_all_operators(write):
    chosen = load_config(write("run.yaml", content()), ["kernels=reference", "train.seed=1"]).kernels.model_dump()
    assert chosen == dict.fromkeys(OPERATORS, "reference")


@pytest.mark.parametrize("key", ["name", "model", "model.num_layers", "train.global_batch_size", "optimizer.lr"])
def test_missing_keys_are_named(write, key):
    whole = content()
    section = whole
    *parents, last = key.split(".")
    for parent in parents:
        section = section[parent]
    del section[last]
    path = write("run.yaml", whole)
    assert message_of(lambda: load_config(path)).endswith(f"Add {key}. [{key}]")


@pytest.mark.parametrize(("text", "part"), [
    ("model: [1", "is not valid YAML"),
    ("a: 1\na: 2", "key 'a' stands twice"),
    ("model: {x: 1, x: 2}", "key 'x' stands twice"),
    ("? [1, 2]\n: 3", "is not a name"),
    ("model: {1: 2}", "key 1 is not a name"),
    ("\tname: x", "is not valid YAML"),
    ("- 1", "holds list, not a mapping"),
    ("", "holds NoneType"),
    ("extends: missing.yaml", "missing.yaml cannot be read: No such file"),
    ("extends: [a.yaml]", "not the path of a file"),
    ("extends: run.yaml", "extends itself"),
    ("scales: 5", "scales is 5"),
    ("scales: {toy: }", "scales is {'toy': None}"),
    ("scale: huge\nscales: {toy: {}}", "scale 'huge' is not one of ['toy']"),
    ("scale: [1]\nscales: {toy: {}}", "scale [1] is not one of"),
])
def test_bad_files_say_what_is_wrong(write, text, part):
    path = write("run.yaml", text)
    assert part in message_of(lambda: load_config(path))


def test_loops_of_extends_are_shown(write):
    first = write("first.yaml", "extends: second.yaml")
    write("second.yaml", "extends: first.yaml")
    message = message_of(lambda: load_config(first))
    assert message.count("first.yaml") >= 2
    assert "second.yaml" in message


def test_files_that_cannot_be_read(tmp_path):
    assert "No such file" in message_of(lambda: load_config(tmp_path / "no.yaml"))
    assert "directory" in message_of(lambda: load_config(tmp_path))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in message_of(lambda: load_config(tmp_path / "bytes.yaml"))


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12) | st.sampled_from(
    ["1e5", "12e4", "24:00:00", "2026-01-01", "no", "null", "~", "0x10", "010", ".5", "1_0", "=", "<<", "- a", "#",
     ": "])
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True) | st.sampled_from(["1e5", "2026-01-01", "0"])
sizes = st.integers(1, 2**40)
rates = st.floats(1e-12, 1e3, allow_nan=False)


@given(st.fixed_dictionaries({
    "name": names,
    "model": st.fixed_dictionaries({
        "num_layers": sizes, "hidden_size": sizes, "num_attention_heads": sizes, "seq_length": sizes,
    }, optional={"style": st.sampled_from(["gpt", "llama"]), "swiglu": st.booleans(), "init_method_std": rates}),
    "train": st.fixed_dictionaries({"global_batch_size": sizes}, optional={
        "train_iters": sizes, "train_tokens": sizes, "precision": st.sampled_from(["fp32", "bf16"]),
        "seed": st.integers(0, 2**63)}),
    "optimizer": st.fixed_dictionaries({"lr": rates}, optional={
        "min_lr": st.floats(0, 1), "adam_eps": rates, "lr_decay_style": st.sampled_from(["cosine", "constant"])}),
}, optional={
    "run_dir": words.filter(lambda text: text.strip(". /")),
    "data": st.fixed_dictionaries({}, optional={
        "data_path": st.lists(st.floats(0, 9) | words, max_size=4),
        "blend": st.dictionaries(words, rates, max_size=3)}),
    "launch": st.fixed_dictionaries({}, optional={
        "environment": st.dictionaries(words, words, max_size=3), "num_nodes": sizes,
        "pjm": st.fixed_dictionaries({}, optional={"elapse": words, "rscgrp": words, "extra": st.lists(words)})}),
}))
def test_a_written_configuration_reads_back_as_it_was(tmp_path_factory, content):
    config = build_config(content)
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
