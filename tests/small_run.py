"""A run small enough for a test: real text, a real tokenizer, a model of two thousand steps a minute."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import Any

import yaml

VOCABULARY = 512


def build_small_data(folder: Path) -> Path:
    """Make tokens from some of this Python's sources; return the manifest."""
    from megatron_fugaku.data.pipeline import run_pipeline
    from megatron_fugaku.data.recipe import load_recipe

    settings = {
        "name": "small",
        "corpus": {
            "min_characters": 50,
            "languages": {"code": {"weight": 1, "max_bytes": 300_000}, "en": {"weight": 1, "max_bytes": 150_000}},
            "sources": [
                {"name": name, "kind": "path", "path": sysconfig.get_path("stdlib"), "reader": "code",
                 "include": include, "language": language, "licence": "PSF-2.0"}
                for name, language, include in (("modules", "code", ["json/*.py", "email/*.py", "heapq.py"]),
                                                ("more", "en", ["textwrap.py", "argparse.py", "cmd.py", "string.py"]))
            ],
        },
        "tokenizer": {"vocab_size": VOCABULARY, "sample_bytes": 200_000, "num_threads": 2},
        "tokens": {"valid_share": 0.1},
    }
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(settings), encoding="utf-8")
    run_pipeline(load_recipe(recipe), folder / "data", cache=folder / "cache", num_workers=1)
    return folder / "data" / "manifest.json"


def small_config(manifest: Path, run_dir: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a run's YAML file; ``sections`` update it."""
    content: dict[str, Any] = {
        "name": "small",
        "run_dir": str(run_dir),
        "model": {"num_layers": 4, "hidden_size": 32, "num_attention_heads": 4, "seq_length": 32,
                  "attention_dropout": 0.0, "hidden_dropout": 0.0},
        "train": {"micro_batch_size": 1, "global_batch_size": 8, "train_iters": 20},
        "optimizer": {"lr": 1e-3, "min_lr": 1e-4, "lr_warmup_tokens": 1280},
        "data": {"manifest": str(manifest), "data_cache_path": str(manifest.parent / "cache")},
        "logging": {"tensorboard": False, "timeline_iterations": []},
    }
    for name, values in sections.items():
        content[name] = {**content.get(name, {}), **values} if isinstance(values, dict) else values
    return content


def write_config(path: Path, content: dict[str, Any]) -> Path:
    """Write a run's YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def read_losses(run_dir: Path, event: str = "train") -> dict[int, float]:
    """Return the loss by step from a run's metrics; a repeated step counts as it was last."""
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    entries = (json.loads(line) for line in lines)
    return {entry["iteration"]: entry["lm_loss"] for entry in entries if entry["event"] == event}
