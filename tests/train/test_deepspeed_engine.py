"""``engine: deepspeed``: ZeRO 1 to 3 train as megatron-core's optimizer does, and their checkpoints go on exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from small_run import read_losses, small_config, write_config

from megatron_fugaku.config import build_config
from megatron_fugaku.errors import CheckpointError
from megatron_fugaku.train.deepspeed_engine import build_deepspeed_config

pytest.importorskip("deepspeed")
mpi = pytest.mark.mpi
TP2 = {"parallel": {"tensor_model_parallel_size": 2}}
#: fp32 sums in another order; see test_layouts.py.
TOLERANCE = 1e-5
LLAMA = {"model": {"style": "llama", "num_query_groups": 2}}


def deepspeed(stage: int, **sections) -> dict:
    return {"engine": "deepspeed", "deepspeed": {"zero_stage": stage}, **sections}


RUNS = {
    "gpt-zero1-tp2": deepspeed(1, **TP2),
    "gpt-zero2-tp2": deepspeed(2, **TP2),
    "gpt-zero3-tp2": deepspeed(3, **TP2),
    "gpt-zero3-recomputed": deepspeed(3, recompute={"recompute_granularity": "full"}),
    "llama-zero1-tp2": deepspeed(1, **TP2, **LLAMA),
    "llama-zero3": deepspeed(3, **LLAMA),
}


def pretrain(config: Path, num_ranks: int, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run_mpi(["-m", "megatron_fugaku", "pretrain", config, *overrides], num_ranks, timeout_s=180)


def train(config: Path, num_ranks: int, *overrides: str) -> None:
    done = pretrain(config, num_ranks, *overrides)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def generate(run_dir: Path, num_ranks: int) -> subprocess.CompletedProcess[str]:
    return run_mpi(["-W", "ignore", "-m", "megatron_fugaku", "generate", run_dir, "--prompt", "def ", "--temperature",
                    "0", "--max-new-tokens", "8"], num_ranks, timeout_s=100)


def read_steps(run_dir: Path) -> dict[int, tuple[float, float]]:
    """Loss and gradient norm by step."""
    entries = map(json.loads, (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {entry["iteration"]: (entry["lm_loss"], entry["grad_norm"]) for entry in entries
            if entry["event"] == "train"}


def assert_alike(steps: dict[int, tuple[float, float]], expected: dict[int, tuple[float, float]]) -> None:
    assert steps == {step: (pytest.approx(loss, rel=TOLERANCE), pytest.approx(norm, rel=10 * TOLERANCE))
                     for step, (loss, norm) in expected.items()}


def train_all(folder: Path, manifest: Path, num_ranks: int, runs: dict[str, dict], **settings) -> dict[str, Path]:
    """Train configurations one after the other in one job; return their run folders."""
    configs = [write_config(folder / f"{name}.yaml", small_config(manifest, folder / name, **sections, train=settings))
               for name, sections in runs.items()]
    done = run_mpi([Path(__file__).parent / "workers" / "train_layouts.py", *configs], num_ranks)
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: folder / name for name in runs}


@pytest.fixture(scope="module")
def megatron(small_manifest, tmp_path_factory) -> dict[str, Path]:
    """Run folders of megatron-core's engine on one rank, validated on the way."""
    return train_all(tmp_path_factory.mktemp("megatron"), small_manifest, 1, {"gpt": {}, "llama": LLAMA},
                     eval_interval=10, eval_iters=1)


@pytest.fixture(scope="module")
def zero(small_manifest, tmp_path_factory) -> dict[str, Path]:
    """Run folders of DeepSpeed's engine on 4 ranks, likewise."""
    return train_all(tmp_path_factory.mktemp("zero"), small_manifest, 4, RUNS, eval_interval=10, eval_iters=1)


@mpi
@pytest.mark.slow
@pytest.mark.parametrize("name", list(RUNS))
def test_trains_like_megatron_core(name, megatron, zero):
    expected = megatron[name.partition("-")[0]]
    assert_alike(read_steps(zero[name]), read_steps(expected))
    assert read_losses(zero[name], "validation") == pytest.approx(read_losses(expected, "validation"), rel=TOLERANCE)
    manifest = json.loads((zero[name] / "manifest.json").read_text())
    assert manifest["num_parameters"] == json.loads((expected / "manifest.json").read_text())["num_parameters"]
    assert "deepspeed" in manifest["versions"]
    assert "deepspeed-accelerator" in {patch["id"] for patch in manifest["patches"]}


@mpi
@pytest.mark.slow
def test_bf16_stays_close(megatron, small_manifest, tmp_path):
    runs = train_all(tmp_path, small_manifest, 2, {f"zero{stage}": deepspeed(stage) for stage in (1, 2)},
                     precision="bf16")
    for run in runs.values():
        losses, expected = read_losses(run), read_losses(megatron["gpt"])
        assert losses == pytest.approx(expected, rel=5e-3) and losses != pytest.approx(expected, rel=TOLERANCE)


@mpi
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", [1, 3])
def test_a_checkpoint_goes_on(stage, megatron, small_manifest, tmp_path):
    """At its own layout bit for bit, dropout included; made universal, at others as one rank would."""
    tensor_parallel_size = 2 if stage == 1 else 1
    run = deepspeed(stage, parallel={"tensor_model_parallel_size": tensor_parallel_size})
    with_dropout = {**run, "model": {"hidden_dropout": 0.1}}
    whole = train_all(tmp_path, small_manifest, 4, {"whole": with_dropout})["whole"]
    ten_steps = train_all(tmp_path, small_manifest, 4, {"parts": with_dropout, "run": run}, exit_interval=10)
    assert sorted(read_steps(ten_steps["parts"])) == list(range(1, 11))
    parts = train_all(tmp_path, small_manifest, 4, {"parts": with_dropout})["parts"]
    assert read_steps(parts) == read_steps(whole)

    config, saved = tmp_path / "run.yaml", tmp_path / "run" / "checkpoints" / "iter_0000010"
    # Its weights are those of megatron-core's engine: they go on with a text alike.
    train(config, 1, "engine=megatron", "parallel.tensor_model_parallel_size=1", f"run_dir={tmp_path / 'megatron'}")
    text = generate(tmp_path / "megatron", 1).stdout
    assert text.startswith("> def \n") and generate(tmp_path / "run", tensor_parallel_size).stdout == text
    done = generate(tmp_path / "run", 4)
    assert done.returncode == CheckpointError.exit_code and f"Use {tensor_parallel_size} ranks" in done.stderr
    converted = subprocess.run([sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder",
                                saved / "deepspeed", "--output_folder", saved / "universal"], capture_output=True,
                               text=True, timeout=120)
    assert converted.returncode == 0, converted.stderr[-3000:]
    later = {step: facts for step, facts in read_steps(megatron["gpt"]).items() if step > 10}
    load = {"checkpoint": {"load": str(saved.parent)}}
    universal = {**load, "parallel": {"tensor_model_parallel_size": 4 if stage == 1 else 1},
                 "deepspeed": {"zero_stage": 2 if stage == 1 else 3, "load_universal": True}}
    other = train_all(tmp_path, small_manifest, 4 if stage == 1 else 2, {"other": {**run, **universal}})["other"]
    assert_alike(read_steps(other), later)
    done = pretrain(config, 2, f"checkpoint.load={saved.parent}", "parallel.tensor_model_parallel_size=1",
                    "deepspeed.load_universal=true", f"deepspeed.zero_stage={4 - stage}")
    assert done.returncode == CheckpointError.exit_code and "was written with zero_stage" in done.stderr
    if stage == 1:
        finetune = {"checkpoint": {**load["checkpoint"], "finetune": True}}
        tuned = train_all(tmp_path, small_manifest, 4, {"tuned": {**run, **finetune}}, exit_interval=2)["tuned"]
        steps = read_steps(tuned)
        assert sorted(steps) == [1, 2] and steps[1][0] < read_steps(megatron["gpt"])[1][0] - 0.1


REFUSED = {
    "has no folder universal": ["deepspeed.load_universal=true"],
    "was written with": ["parallel.tensor_model_parallel_size=2"],
    "was written by engine deepspeed": ["engine=megatron"],
}


@mpi
@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 3])
def test_what_a_checkpoint_cannot_be_used_for_is_refused(stage, small_manifest, tmp_path):
    """What DeepSpeed cannot do with it is refused before it is tried."""
    config = write_config(tmp_path / "run.yaml", small_config(small_manifest, tmp_path / "run", **deepspeed(stage)))
    train(config, 2, "train.exit_interval=2")
    load = f"checkpoint.load={tmp_path / 'run' / 'checkpoints'}"
    for reason, overrides in REFUSED.items():
        done = pretrain(config, 2, load, *overrides)
        assert done.returncode == CheckpointError.exit_code and reason in done.stderr, done.stderr[-2000:]


def test_its_configuration_is_that_of_the_run(tmp_path):
    config = build_config(small_config(tmp_path / "manifest.json", tmp_path, **deepspeed(2), train={
        "micro_batch_size": 2, "global_batch_size": 24, "precision": "bf16"}, optimizer={"clip_grad": 0.5}))
    written = build_deepspeed_config(config, data_parallel_size=3)
    assert (written["train_batch_size"], written["train_micro_batch_size_per_gpu"],
            written["gradient_accumulation_steps"]) == (24, 2, 4)
    assert written["zero_optimization"]["stage"] == 2
    assert written["bf16"] == {"enabled": True} and written["gradient_clipping"] == 0.5
