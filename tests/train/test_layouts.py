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
        "pp2_interleaved": {PP: 2, VPP: 2},
        "dp4_sharded": SHARDED,
        "dp4_sharded_overlapped": {**SHARDED, "overlap_grad_reduce": True, "overlap_param_gather": True,
                                   "ddp_bucket_size": 20_000},
    },
    1: {"one": {}},
}
MODELS = {
    "gpt": {},
    "llama": {"style": "llama", "num_query_groups": 4},
}
# fp32 sums in another order; the curves of 20 steps stay this close.
TOLERANCE = 1e-5


def train_layouts(folder: Path, manifest: Path, world_size: int, runs: dict[str, dict]) -> dict[str, dict[int, float]]:
    """Train each configuration on ``world_size`` ranks of one mpirun; return its losses by step."""
    paths = [write_config(folder / f"{name}.yaml", small_config(manifest, folder / name, **sections))
             for name, sections in runs.items()]
    done = run_mpi([WORKER, *paths], world_size, timeout_s=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return {name: read_losses(folder / name) for name in runs}


@pytest.fixture(scope="module", params=list(MODELS))
def model(request) -> tuple[str, dict]:
    return request.param, MODELS[request.param]


@pytest.fixture(scope="module")
def one_rank(model, small_manifest, tmp_path_factory) -> dict[int, float]:
    """The reference curve."""
    folder = tmp_path_factory.mktemp("one")
    return train_layouts(folder, small_manifest, 1, {"one": {"model": model[1]}})["one"]


def assert_same_curve(losses: dict[int, float], reference: dict[int, float]) -> None:
    assert sorted(losses) == sorted(reference) == list(range(1, 21))
    assert losses == {step: pytest.approx(loss, rel=TOLERANCE) for step, loss in reference.items()}


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("world_size", [4, 8])
def test_layouts_train_like_one_rank(world_size, model, one_rank, small_manifest, tmp_path):
    layouts = LAYOUTS[world_size]
    if model[0] == "llama":  # its modules differ under TP and PP only
        layouts = {name: layout for name, layout in layouts.items() if name.startswith(("tp4_sp", "tp2_pp2"))}
    runs = {name: {"model": model[1], "parallel": layout} for name, layout in layouts.items()}
    for name, losses in train_layouts(tmp_path, small_manifest, world_size, runs).items():
        assert_same_curve(losses, one_rank), name


@pytest.mark.mpi
def test_the_loss_falls(one_rank):
    assert one_rank[1] > 5.9  # ln 512 is 6.24
    assert one_rank[20] < one_rank[1] - 0.3


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
        "bf16": {"train": {"precision": "bf16"}},
        "bf16_sharded": {"train": {"precision": "bf16"}},
    }
    for name, sections in runs.items():
        sections["parallel"] = {PP: 2, **(SHARDED if name.endswith("sharded") else {})}
        sections["train"] = {"train_iters": 8, **sections.get("train", {})}
    curves = train_layouts(tmp_path, small_manifest, 2, runs)
    for name in ("selective", "full", "first_stage"):
        assert curves[name] == curves["plain"], name
    assert curves["dropout_full"] == curves["dropout"] != curves["plain"]
    for name in ("bf16", "bf16_sharded"):
        assert curves[name] == {step: pytest.approx(loss, rel=5e-3) for step, loss in curves["plain"].items()}
        assert curves[name] != curves["plain"]
