"""Every way of cutting the model gives the loss curve of one rank, on the same data."""

from __future__ import annotations

from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from small_run import read_losses, small_config, write_config

WORKER = Path(__file__).parent / "workers" / "train_layouts.py"
TP, PP, VPP = ("tensor_model_parallel_size", "pipeline_model_parallel_size",
               "virtual_pipeline_model_parallel_size")
SHARDED = {"use_distributed_optimizer": True}
LAYOUTS = {
    8: {"tp2_pp2_dp2": {TP: 2, PP: 2}, "tp2_sp_pp2_dp2_sharded": {TP: 2, PP: 2, "sequence_parallel": True, **SHARDED}},
    4: {
        "tp4": {TP: 4},
        "tp4_sp": {TP: 4, "sequence_parallel": True},
        "pp4": {PP: 4},
        "pp4_interleaved": {PP: 4, VPP: 2},
        "dp4_sharded": SHARDED,
        "dp4_sharded_overlapped": {**SHARDED, "overlap_grad_reduce": True, "overlap_param_gather": True,
                                   "ddp_bucket_size": 20_000},
    },
}
# Its modules differ from GPT's under tensor and pipeline parallelism only.
LLAMA_LAYOUTS = {"tp2_pp2_dp2", "tp4_sp"}
# Every product by the kernels, or nothing: by default it is what is faster on this machine.
KERNELS = {"tp4": {"matmul": "kernel"}, "tp4_sp": {"matmul": "kernel"}, "pp4": "reference"}
MODELS = {
    "gpt": {"num_layers": 8},
    "llama": {"num_layers": 8, "style": "llama", "num_query_groups": 4},
}
# fp32 sums in another order; the curves of 20 steps, and of 50, stay this close.
TOLERANCE = 1e-5


def train_layouts(folder: Path, manifest: Path, world_size: int, runs: dict[str, dict]) -> dict[str, dict[int, float]]:
    """Train each configuration on ``world_size`` ranks of one mpirun; return its losses by step."""
    paths = [write_config(folder / f"{name}.yaml", small_config(manifest, folder / name, **sections))
             for name, sections in runs.items()]
    done = run_mpi([WORKER, *paths], world_size, timeout_s=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return {name: read_losses(folder / name) for name in runs}


@pytest.fixture(scope="module")
def one_rank(small_manifest, tmp_path_factory) -> dict[str, dict[int, float]]:
    """The reference curve of each model."""
    runs = {name: {"model": model} for name, model in MODELS.items()}
    return train_layouts(tmp_path_factory.mktemp("one"), small_manifest, 1, runs)


def check_curves(curves: dict[str, dict[int, float]], one_rank: dict[str, dict[int, float]]) -> None:
    """Fail unless each curve, which begins with the name of its model, is that of one rank."""
    for name, losses in curves.items():
        reference = one_rank[name.partition("_")[0]]
        assert sorted(losses) == sorted(reference) == list(range(1, 21)), name
        assert losses == {step: pytest.approx(loss, rel=TOLERANCE) for step, loss in reference.items()}, name


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("world_size", [4, 8])
def test_layouts_train_like_one_rank(world_size, one_rank, small_manifest, tmp_path):
    layouts = LAYOUTS[world_size]
    runs = {f"gpt_{name}": {"model": MODELS["gpt"], "parallel": layout} for name, layout in layouts.items()}
    for name in LLAMA_LAYOUTS & layouts.keys():
        runs[f"llama_{name}"] = {"model": MODELS["llama"], "parallel": layouts[name]}
    check_curves(train_layouts(tmp_path, small_manifest, world_size, runs), one_rank)


@pytest.mark.mpi
@pytest.mark.slow
def test_kernels_and_their_references_train_like_one_rank(one_rank, small_manifest, tmp_path):
    runs = {f"gpt_{name}": {"model": MODELS["gpt"], "parallel": LAYOUTS[4][name], "kernels": kernels}
            for name, kernels in KERNELS.items()}
    check_curves(train_layouts(tmp_path, small_manifest, 4, runs), one_rank)


@pytest.mark.mpi
@pytest.mark.slow
def test_kernels_train_like_their_references_for_50_steps(small_manifest, tmp_path):
    """Every operator by its kernel, and every operator by torch's, whose dropout inside attention has other masks."""
    runs = {f"{model}_{kernels}": {"model": {**fields, "num_layers": 4}, "kernels": kernels,
                                   "train": {"train_iters": 50}}
            for model, fields in MODELS.items() for kernels in ("kernel", "reference")}
    curves = train_layouts(tmp_path, small_manifest, 1, runs)
    for model in MODELS:
        ours, theirs = curves[f"{model}_kernel"], curves[f"{model}_reference"]
        assert sorted(ours) == list(range(1, 51))
        assert ours == {step: pytest.approx(loss, rel=TOLERANCE) for step, loss in theirs.items()}, model
        assert ours != theirs, model


@pytest.mark.mpi
@pytest.mark.parametrize("model", list(MODELS))
def test_the_loss_falls(model, one_rank):
    losses = one_rank[model]
    assert 5.9 < losses[1] < 6.5  # ln 512 is 6.24
    assert losses[20] < losses[1] - 0.2


@pytest.mark.mpi
@pytest.mark.slow
def test_recomputation_changes_nothing_and_bf16_stays_close(small_manifest, tmp_path):
    """Recomputation repeats the same arithmetic; bf16 keeps fp32 master weights and differs by its rounding."""
    full = {"recompute_granularity": "full"}
    runs = {
        "plain": {},
        "selective": {"recompute": {"recompute_granularity": "selective"}},
        "full": {"recompute": full},
        "first_stage": {"recompute": {**full, "recompute_pipeline_stages": [0]}},
        "dropout": {"model": {"attention_dropout": 0.1, "hidden_dropout": 0.1}},
        "dropout_full": {"model": {"attention_dropout": 0.1, "hidden_dropout": 0.1}, "recompute": full},
        "tensor": {"model": {"hidden_dropout": 0.1}},
        "tensor_full": {"model": {"hidden_dropout": 0.1}, "recompute": full},
        "tensor_two_layers": {"model": {"hidden_dropout": 0.1}, "recompute": {**full, "recompute_num_layers": 2}},
        "bf16": {"train": {"precision": "bf16"}},
        "bf16_sharded": {"train": {"precision": "bf16"}},
    }
    for name, sections in runs.items():
        dimension = TP if name.startswith("tensor") else PP
        sections["parallel"] = {dimension: 2, **(SHARDED if name.endswith("sharded") else {})}
        sections["train"] = {"train_iters": 8, **sections.get("train", {})}
    curves = train_layouts(tmp_path, small_manifest, 2, runs)
    for name in ("selective", "full", "first_stage"):
        assert curves[name] == curves["plain"], name
    assert curves["dropout_full"] == curves["dropout"] != curves["plain"]
    assert curves["tensor_full"] == curves["tensor_two_layers"] == curves["tensor"]
    for name in ("bf16", "bf16_sharded"):
        assert curves[name] == {step: pytest.approx(loss, rel=5e-3) for step, loss in curves["plain"].items()}
        assert curves[name] != curves["plain"]
