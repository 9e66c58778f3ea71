"""Losses and gradient norms of a small pretraining on 2 tensor x 2 pipeline ranks, the same on every processor.

Started by a person, it trains on this machine and writes the golden file:

    python tests/golden_pretraining.py

Do so only when the data pipeline, the model or its initialization changed on purpose, and say so in the commit message.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from mpi_helpers import run_mpi
from small_run import write_config

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden" / "pretraining.json"
#: The licence's words stay the same; the standard library's sources, which other small runs read, do not.
TEXT = ROOT / "LICENSE"
VOCABULARY = 400
NUM_STEPS = 6
#: Where an interrupted run stops, and a checkpoint is written.
STOP_AT = 3


def data_folder(otherwise: Path) -> Path:
    """Return the folder that GOLDEN_DATA names, so that several test processes can share the data; else `otherwise`."""
    folder = Path(os.environ.get("GOLDEN_DATA", otherwise))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_golden_recipe(folder: Path) -> Path:
    """Write the recipe for `mfugaku data`, and its source: TEXT, each of its paragraphs a document."""
    paragraphs = re.split(r"\n\s*\n", TEXT.read_text(encoding="utf-8"))
    documents = folder / "documents.jsonl"
    documents.write_text("".join(json.dumps({"text": text}) + "\n" for text in paragraphs), encoding="utf-8")
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({
        "name": "golden",
        "corpus": {"min_characters": 50, "sources": [{
            "name": "licence", "kind": "path", "path": str(documents), "reader": "jsonl", "language": "en",
            "licence": "Apache-2.0"}]},
        "tokenizer": {"vocab_size": VOCABULARY, "sample_bytes": 100_000, "num_threads": 1},
        "tokens": {"valid_share": 0.1},
    }), encoding="utf-8")
    return recipe


def build_golden_data(folder: Path) -> Path:
    """Make the tokens, unless they are there; return the manifest."""
    from megatron_fugaku.data.pipeline import run_pipeline
    from megatron_fugaku.data.recipe import load_recipe

    manifest = folder / "data" / "manifest.json"
    if not manifest.exists():
        run_pipeline(load_recipe(write_golden_recipe(folder)), folder / "data", cache=folder / "cache", num_workers=1)
    return manifest


def digest_tokens(manifest: Path) -> str:
    """Return the SHA-256 of all token files, by name."""
    digest = hashlib.sha256()
    for path in sorted((manifest.parent / "tokens").rglob("*.bin")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def golden_config(manifest: Path, run_dir: Path) -> dict[str, Any]:
    """Return the content of the run's YAML file."""
    return {
        "name": "golden",
        "run_dir": str(run_dir),
        "model": {"num_layers": 4, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 48,
                  "attention_dropout": 0.0, "hidden_dropout": 0.0},
        "parallel": {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2},
        "train": {"micro_batch_size": 2, "global_batch_size": 4, "train_iters": NUM_STEPS},
        "optimizer": {"lr": 1e-3, "min_lr": 1e-4, "lr_warmup_tokens": 192},
        "data": {"manifest": str(manifest), "data_cache_path": str(manifest.parent / "cache")},
        "checkpoint": {"save_interval": STOP_AT},
        "logging": {"tensorboard": False, "timeline_iterations": []},
    }


def read_steps(run_dir: Path) -> dict[int, dict[str, float]]:
    """Return what is compared of each step of a run: `lm_loss` and `grad_norm`."""
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [entry for entry in map(json.loads, lines) if entry["event"] == "train"]
    return {step["iteration"]: {name: step[name] for name in ("lm_loss", "grad_norm")} for step in steps}


def load_expected() -> dict[str, Any]:
    """Return the golden file: `tokens_sha256`, and `steps` as :func:`read_steps` does."""
    content = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return {**content, "steps": {int(step): values for step, values in content["steps"].items()}}


def main() -> None:
    """Train without interruption and write the golden file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = build_golden_data(folder)
        config = write_config(folder / "golden.yaml", golden_config(manifest, folder / "run"))
        done = run_mpi(["-m", "megatron_fugaku", "pretrain", config], 4)
        if done.returncode != 0:
            raise SystemExit(done.stdout + done.stderr)
        content = {"tokens_sha256": digest_tokens(manifest), "steps": read_steps(folder / "run")}
        GOLDEN.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(GOLDEN.read_text(), end="")


if __name__ == "__main__":
    main()
