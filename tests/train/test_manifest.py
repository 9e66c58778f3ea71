"""The files that say what a run was."""

from __future__ import annotations

import hashlib
import json

import pytest
from small_run import small_config

from megatron_fugaku.config import build_config, load_config
from megatron_fugaku.kernels.implementations import OPERATORS
from megatron_fugaku.train.manifest import describe_run, write_run_files


@pytest.fixture
def config(tmp_path):
    manifest = tmp_path / "data.json"
    manifest.write_text("{}")
    parallel = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}
    return build_config(small_config(manifest, tmp_path / "run", parallel=parallel))


def test_the_manifest_says_what_ran(config):
    manifest = describe_run(config, world_size=8, num_parameters=1000, vocab_size=512)
    assert (manifest["world_size"], manifest["data_parallel_size"]) == (8, 2)
    assert (manifest["num_parameters"], manifest["padded_vocab_size"]) == (1000, 512)
    assert {"python", "mpi", "torch", "megatron-core", "numpy"} <= set(manifest["versions"])
    assert all(manifest["versions"].values())
    assert manifest["data_manifest"]["sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert manifest["machine"]["threads_per_rank"] >= 1
    assert manifest["comm"]["wire_dtype"] == {"tensor": "fp32", "data": "fp32"}
    assert manifest["kernels"].keys() == set(OPERATORS)
    assert all("(" in choice for choice in manifest["kernels"].values())
    assert manifest["command"]


def test_run_files_read_back(config):
    manifest = describe_run(config, 4, 1000, 512)
    write_run_files(config, manifest)
    assert load_config(config.directory / "config.yaml") == config
    assert json.loads((config.directory / "manifest.json").read_text())["world_size"] == 4
    write_run_files(config, {**manifest, "world_size": 8})  # a resumed run writes again
    assert json.loads((config.directory / "manifest.json").read_text())["world_size"] == 8
    assert sorted(path.name for path in config.directory.iterdir()) == ["config.yaml", "manifest.json"]


def test_data_paths_need_no_manifest(config, tmp_path):
    changed = config.model_copy(update={"data": config.data.model_copy(update={"manifest": None})})
    assert describe_run(changed, 4, 1, 1)["data_manifest"] is None
