"""Interrupted runs go on bit for bit; a checkpoint of one layout goes on in others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mpi_helpers import run_mpi
from small_run import read_losses, small_config, write_config

WORKER = Path(__file__).parents[1] / "train" / "workers" / "train_layouts.py"
TP, PP, VPP = ("tensor_model_parallel_size", "pipeline_model_parallel_size",
               "virtual_pipeline_model_parallel_size")
SHARDED = {"use_distributed_optimizer": True}
DROPOUT = {"attention_dropout": 0.1, "hidden_dropout": 0.1}


def stored_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a checkpoint through torch's own distributed-checkpoint reader."""
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

    state: dict = {}
    _load_state_dict(state, storage_reader=FileSystemReader(checkpoint), planner=_EmptyStateDictLoadPlanner(),
                     no_dist=True)
    flat: dict[str, torch.Tensor] = {}

    def walk(prefix: str, value) -> None:
        if isinstance(value, torch.Tensor):
            flat[prefix] = value
        elif isinstance(value, dict):
            for key, child in value.items():
                walk(f"{prefix}/{key}", child)

    walk("", state)
    return flat


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("sharded", [{}, SHARDED], ids=["plain", "sharded"])
def test_an_interrupted_run_goes_on_bit_for_bit_and_in_other_layouts(sharded, small_manifest, tmp_path):
    """One mpirun trains: 8 steps at once; 5 steps and, from the checkpoint, the other 3; the same 3 elsewhere."""
    def config(name: str, run_dir: str, **sections) -> Path:
        sections.setdefault("parallel", {TP: 2, PP: 2} if not sharded else {TP: 2})
        sections["parallel"] = {**sections["parallel"], **sharded}
        sections["train"] = {"train_iters": 8, **sections.get("train", {})}
        content = small_config(small_manifest, tmp_path / run_dir, **sections)
        return write_config(tmp_path / f"{name}.yaml", content)

    checkpoint = {"checkpoint": {"load": str(tmp_path / "interrupted" / "checkpoints")}}
    # What dropout needs to go on, states of random generators, does not depend on where the optimizer's lie.
    has_dropout = not sharded
    layouts = {
        "tp4_sp": {TP: 4, "sequence_parallel": True},
        "pp2_interleaved": {PP: 2, VPP: 2},
        "dp4": {},
    }
    done = run_mpi([
        WORKER,
        config("whole", "whole"),
        config("interrupted", "interrupted", train={"exit_interval": 5}),
        *(config(name, name, parallel=layout, **checkpoint) for name, layout in layouts.items()),
        config("resumed", "interrupted"),
        *([config("dropout_whole", "dropout_whole", model=DROPOUT),
           config("dropout_interrupted", "dropout_interrupted", model=DROPOUT, train={"exit_interval": 5}),
           config("dropout_resumed", "dropout_interrupted", model=DROPOUT)] if has_dropout else []),
    ], 4, timeout_s=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]

    whole = read_losses(tmp_path / "whole")
    assert sorted(whole) == list(range(1, 9))
    assert read_losses(tmp_path / "interrupted") == whole
    if has_dropout:
        assert read_losses(tmp_path / "dropout_interrupted") == read_losses(tmp_path / "dropout_whole") != whole
    for name in layouts:
        losses = read_losses(tmp_path / name)
        assert losses == {step: pytest.approx(whole[step], rel=1e-5) for step in (6, 7, 8)}, name

    for prefix in ("", "dropout_") if has_dropout else ("",):
        finals = [stored_tensors(tmp_path / f"{prefix}{run}" / "checkpoints" / "iter_0000008")
                  for run in ("whole", "interrupted")]
        assert finals[0].keys() == finals[1].keys()
        assert any("exp_avg_sq" in name for name in finals[0])
        for name, tensor in finals[0].items():
            assert torch.equal(tensor, finals[1][name]), name
