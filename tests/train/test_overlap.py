"""Gradients and parameters travel beside the backward and forward pass, as megatron-core's flags have it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from small_run import read_losses, small_config, write_config

WORKER = Path(__file__).parent / "workers" / "train_overlapped.py"
OVERLAPPED = {"use_distributed_optimizer": True, "overlap_grad_reduce": True, "overlap_param_gather": True,
              "ddp_bucket_size": 200_000}


@pytest.mark.mpi
@pytest.mark.timeout(240)
def test_kernels_end_collectives_before_they_are_waited_for(small_manifest, tmp_path):
    """Without a progress thread, what lets them get on beside computing are the kernels: without their pokes most of
    the buckets are where they were when at last they are waited for. Seen: 22 of 48 against 5."""
    sections = {"model": {"num_layers": 4, "hidden_size": 128, "seq_length": 256, "hidden_dropout": 0.1},
                "train": {"train_iters": 8, "global_batch_size": 4}, "parallel": OVERLAPPED}
    paths = [write_config(tmp_path / f"{name}.yaml", small_config(small_manifest, tmp_path / name, **sections))
             for name in ("poked", "alone")]
    done = run_mpi([WORKER, tmp_path / "report.json", *paths], 2, timeout_s=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    found = json.loads((tmp_path / "report.json").read_text())
    # Several buckets a step, each there and back.
    assert all(number >= 3 * 8 for run in found.values() for number, _ in run.values()), found
    ended = {name: sum(ended for _, ended in run.values()) for name, run in found.items()}
    assert ended["poked"] > ended["alone"], found
    assert read_losses(tmp_path / "poked") == read_losses(tmp_path / "alone")


@pytest.mark.mpi
@pytest.mark.timeout(240)
def test_gradients_in_16_bits_on_the_wire_train_alike(small_manifest, tmp_path):
    """Between nodes, by ``comm.wire_dtype``: sums of 2 ranks' gradients of which one was rounded to 8 bits."""
    sections = {"model": {"num_layers": 4, "hidden_size": 128}, "train": {"train_iters": 8}}
    runs = {"fp32": {}, "bf16": {"comm": {"wire_dtype": {"data": "bf16"}}}}
    paths = [write_config(tmp_path / f"{name}.yaml", small_config(small_manifest, tmp_path / name, **sections, **run))
             for name, run in runs.items()]
    done = run_mpi([WORKER, tmp_path / "report.json", *paths], 2, timeout_s=200,
                   env={"MFUGAKU_COMM_TRANSPORT": "mpi"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    wide, narrow = (read_losses(tmp_path / name) for name in runs)
    assert narrow != wide
    assert narrow == {step: pytest.approx(loss, rel=1e-3) for step, loss in wide.items()}
