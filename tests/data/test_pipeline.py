"""The whole data room on a small recipe: contents, reuse, determinism, damage and sudden death."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from megatron_fugaku.data.codec import Codec
from megatron_fugaku.data.manifest import Manifest, load_manifest, verify_manifest
from megatron_fugaku.data.pipeline import render_summary, run_pipeline
from megatron_fugaku.data.progress import Progress
from megatron_fugaku.data.recipe import Recipe, parse_recipe
from megatron_fugaku.errors import DataError


class Told(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def run(recipe: Recipe, output: Path, stages=("corpus", "tokenizer", "tokens"), num_workers: int = 1):
    told = Told()
    manifest = run_pipeline(
        recipe, output, stages, cache=output.parent / "cache", num_workers=num_workers, progress=told
    )
    return manifest, {line.split(":")[0]: "reused" in line for line in told.lines if " in " in line}, told.lines


@pytest.fixture
def recipe(settings: dict, tmp_path: Path) -> Recipe:
    return parse_recipe(settings, "recipe.yaml", tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, settings_maker) -> tuple[Recipe, Path, Manifest]:
    """A data folder made once; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = parse_recipe(settings_maker(folder), "recipe.yaml", folder)
    manifest, _, _ = run(recipe, folder / "out")
    return recipe, folder / "out", manifest


@pytest.fixture
def built(finished, recipe: Recipe, tmp_path: Path) -> tuple[Recipe, Path, Manifest]:
    """A copy of it, with sources of its own."""
    shutil.copytree(finished[1], tmp_path / "out")
    return recipe, tmp_path / "out", load_manifest(tmp_path / "out")


def read_corpus(output: Path, source: str) -> list[dict]:
    lines = (output / "corpus" / f"{source}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def test_tokens_are_what_the_tokenizer_gives(finished) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    _, output, manifest = finished
    codec = Codec(manifest.tokenizer_path)
    for language, source in (("ja", "pages"), ("code", "stdlib")):
        documents = read_corpus(output, source)
        expected = sorted([*codec.encode(document["text"]), codec.eos] for document in documents)
        found = []
        for suffix in ("", "_valid"):
            dataset = IndexedDataset(str(output / "tokens" / f"{language}{suffix}"))
            assert dataset.index.dtype is np.uint16
            assert len(dataset) == len(dataset.document_indices) - 1
            found += [sequence.tolist() for sequence in dataset]
        assert sorted(found) == expected
        facts = manifest.languages[language]
        assert (facts.documents, facts.tokens) == (len(expected), sum(map(len, expected)))
        assert facts.valid_documents > 0 and facts.train_documents > 0


def test_corpus_and_manifest(finished) -> None:
    _, output, manifest = finished
    page = read_corpus(output, "pages")[0]
    assert set(page) == {"id", "language", "licence", "source", "text"}
    assert page["id"] == "pages/page000.html" and page["licence"] == "CC0-1.0"
    assert page["text"].startswith("文書0の題名\n\nこれは文書0の題名についての説明です。ファイルを開くときは open")
    assert "案内" not in page["text"] and "  x = 0\n  print(x)" in page["text"]
    code = read_corpus(output, "stdlib")
    assert sum(len(document["text"].encode()) for document in code) <= 150_000
    assert any("\n    def " in document["text"] for document in code)
    assert [document["id"] for document in code] == sorted(document["id"] for document in code)
    assert manifest.sources["stdlib"].dropped["over budget"] > 0
    assert [manifest.blend["train"][i] for i in (0, 2)] == [0.25, 0.75]
    prefixes, weights = manifest.prefixes_and_weights("valid")
    assert prefixes == [str(output / "tokens" / f"{name}_valid") for name in ("code", "ja")] and weights == [0.25, 0.75]
    assert manifest.data_path("train")[:2] == [0.25, str(output / "tokens" / "code")]
    assert sum(facts.share for facts in manifest.sources.values()) == pytest.approx(1)
    assert load_manifest(output) == manifest and verify_manifest(output / "manifest.json") == manifest
    assert "ja " in render_summary(manifest)


def test_stages_are_reused_while_nothing_changed(built, settings, tmp_path) -> None:
    recipe, output, manifest = built
    before = (output / "manifest.json").stat().st_mtime_ns
    again, reused, _ = run(recipe, output)
    assert reused == {"corpus": True, "tokenizer": True, "tokens": True} and again.files == manifest.files
    assert (output / "manifest.json").stat().st_mtime_ns == before

    changed = copy.deepcopy(settings)
    changed["tokens"]["valid_share"] = 0.2
    _, reused, _ = run(parse_recipe(changed, "r", tmp_path), output)
    assert reused == {"corpus": True, "tokenizer": True, "tokens": False}

    (tmp_path / "pages" / "page000.html").unlink()
    _, reused, _ = run(parse_recipe(changed, "r", tmp_path), output)
    assert reused == {"corpus": False, "tokenizer": False, "tokens": False}

    os.truncate(output / "tokens" / "ja.bin", 10)
    _, reused, _ = run(parse_recipe(changed, "r", tmp_path), output)
    assert reused == {"corpus": True, "tokenizer": True, "tokens": False}
    verify_manifest(output)


def test_one_stage_alone(recipe, tmp_path) -> None:
    output = tmp_path / "out"
    with pytest.raises(DataError, match="stage corpus has not been run"):
        run(recipe, output, ["tokenizer"])
    assert run(recipe, output, ["corpus"])[0] is None
    assert run(recipe, output, ["tokenizer"])[0] is None
    manifest, reused, _ = run(recipe, output, ["tokens"])
    assert manifest is not None and list(reused) == ["tokens"]


def test_two_runs_and_two_workers_give_the_same_bytes(finished, recipe, tmp_path) -> None:
    _, _, manifest = finished
    other, _, _ = run(recipe, tmp_path / "other", num_workers=2)
    assert other.model_dump() == manifest.model_dump()


def test_a_changed_byte_is_found(built) -> None:
    _, output, _ = built
    path = output / "tokens" / "ja.bin"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"ja\.bin has SHA-256"):
        verify_manifest(output)
    path.write_bytes(data[:-2])
    with pytest.raises(DataError, match=r"ja\.bin has .* bytes instead of"):
        verify_manifest(output)
    path.unlink()
    with pytest.raises(DataError, match=r"ja\.bin is missing"):
        verify_manifest(output)
    (output / "manifest.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="not a manifest of format 1"):
        load_manifest(output)


def test_a_missing_source_is_left_out_and_told(settings, tmp_path) -> None:
    settings["corpus"]["sources"][0]["path"] = "nowhere"
    with pytest.raises(DataError, match=r"nowhere is not there.*corpus\.sources\.pages\.path"):
        run(parse_recipe(settings, "r", tmp_path), tmp_path / "out")
    settings["corpus"]["sources"][0]["required"] = False
    manifest, _, lines = run(parse_recipe(settings, "r", tmp_path), tmp_path / "out")
    assert list(manifest.missing) == ["pages"] and list(manifest.languages) == ["code"]
    assert manifest.languages["code"].weight == 1
    assert any("pages is left out" in line for line in lines)
    assert "left out: pages" in render_summary(manifest)


def test_a_source_lost_later_does_not_undo_the_corpus(settings, tmp_path) -> None:
    settings["corpus"]["sources"][0]["required"] = False
    recipe = parse_recipe(settings, "r", tmp_path)
    run(recipe, tmp_path / "out")
    (tmp_path / "pages").rename(tmp_path / "elsewhere")
    manifest, reused, lines = run(recipe, tmp_path / "out")
    assert reused["corpus"] and "pages" in manifest.sources and not manifest.missing
    assert any("the corpus made with it is kept" in line for line in lines)


def test_empty_corpus_and_too_large_vocabulary(settings, tmp_path) -> None:
    settings["tokenizer"]["vocab_size"] = 60_000
    with pytest.raises(DataError, match="vocab_size 60000 is too large"):
        run(parse_recipe(settings, "r", tmp_path), tmp_path / "out")
    settings["corpus"]["min_characters"] = 10_000_000
    with pytest.raises(DataError, match="no document is left of 2 sources"):
        run(parse_recipe(settings, "r", tmp_path), tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*partial"))


def test_duplicates_are_dropped_across_sources(settings, tmp_path) -> None:
    twin = {**settings["corpus"]["sources"][0], "name": "twin"}
    settings["corpus"]["sources"].append(twin)
    manifest, _, _ = run(parse_recipe(settings, "r", tmp_path), tmp_path / "out")
    assert manifest.sources["twin"].dropped == {"duplicate": 60} and manifest.sources["twin"].documents == 0


def test_two_documents_are_enough_for_a_validation_set(settings, tmp_path) -> None:
    settings["corpus"]["sources"][0]["include"] = ["page000.html", "page001.html"]
    settings["tokens"]["valid_share"] = 1e-9
    manifest, _, _ = run(parse_recipe(settings, "r", tmp_path), tmp_path / "out")
    assert (manifest.languages["ja"].train_documents, manifest.languages["ja"].valid_documents) == (1, 1)


def test_kill_during_tokens_leaves_nothing_half_written(settings, tmp_path) -> None:
    settings["corpus"]["sources"][1]["include"] = ["json/*.py", "email/*.py", "asyncio/*.py", "a*.py", "b*.py"]
    settings["corpus"]["languages"]["code"].pop("max_bytes")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    output = tmp_path / "out"
    run(parse_recipe(settings, "r", tmp_path), output, ["corpus", "tokenizer"])
    command = [sys.executable, "-m", "megatron_fugaku", "data", str(tmp_path / "recipe.yaml"), "tokens"]
    child = subprocess.Popen([*command, "--output", str(output), "--workers", "2"], stderr=subprocess.PIPE)
    partial = output / ".tokens.partial"
    deadline = time.monotonic() + 60
    while not partial.is_dir() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)  # ends only when the workers, which share its standard error, have ended too
    assert partial.is_dir() and not (output / "tokens").exists() and not (output / "manifest.json").exists()
    manifest, _, _ = run(parse_recipe(settings, "r", tmp_path), output)
    assert not partial.exists() and verify_manifest(output) == manifest
