"""Words and comparisons for tests that train with the scripts of Megatron-DeepSpeed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from upstream_scripts import SMALL_GPT, TOLERANCE, as_words, checkout


def find_home() -> Path:
    """Return the checkout that MEGATRON_DEEPSPEED_HOME names, or skip the test."""
    return checkout("MEGATRON_DEEPSPEED_HOME", "transformers", "pybind11", "nltk", "regex", "six")


def small_words(**settings: object) -> list[object]:
    """The words of a small model, without dropout; those of ``settings`` come in addition or instead, None for none."""
    chosen = {**SMALL_GPT, "distributed-backend": "mpi",
              **{name.replace("_", "-"): value for name, value in settings.items()}}
    return ["--no-cuda", "--use-cpu-initialization",
            *as_words({name: value for name, value in chosen.items() if value is not None})]


def gpt_words(data: dict[str, Path], **settings: object) -> list[object]:
    """The words of a small GPT on the tokens of ``write_tokens``."""
    return small_words(tokenizer_type="JapaneseSentencePiece", vocab_file=data["tokenizer"], data_path=data["tokens"],
                       **settings)


def deepspeed_words(folder: Path, stage: int, has_pipeline: bool) -> list[object]:
    """The words that hand training over to DeepSpeed, whose configuration is written to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f"zero{stage}.json"
    config.write_text(json.dumps({
        "train_batch_size": 8, "train_micro_batch_size_per_gpu": 2, "steps_per_print": 1000, "gradient_clipping": 1.0,
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0}}), encoding="utf-8")
    return ["--deepspeed", "--deepspeed_config", config, "--zero-stage", stage,
            *([] if has_pipeline else ["--no-pipeline-parallel"])]


def assert_alike(losses: list[float], expected: list[float]) -> None:
    """Fail unless the losses are those of another layout."""
    assert losses == pytest.approx(expected, rel=TOLERANCE, abs=0)
