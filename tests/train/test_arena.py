"""Training with buffers and activations in the memory that the ranks of a node share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from small_run import read_losses, small_config, write_config

WORKER = Path(__file__).parent / "workers" / "train_in_arena.py"
USES = ("off", "buffers", "all")
LAYOUTS = {
    "dp2": {"use_distributed_optimizer": True},
    "tp2": {"tensor_model_parallel_size": 2},
    "tp2sp": {"tensor_model_parallel_size": 2, "sequence_parallel": True},
}


@pytest.fixture(scope="module")
def runs(small_manifest, tmp_path_factory) -> dict[str, dict]:
    """By layout and use: which buffers the arena held, ways of long collectives by their number, losses by step."""
    folder = tmp_path_factory.mktemp("arena")
    names = [f"{layout}_{use}" for layout in LAYOUTS for use in USES]
    # Activations of 128 KiB, and buffers longer than that.
    sections = {"model": {"num_layers": 2, "hidden_size": 128, "seq_length": 256},
                "train": {"train_iters": 3, "global_batch_size": 4}}
    paths = [write_config(folder / f"{name}.yaml", small_config(
        small_manifest, folder / name, parallel=LAYOUTS[name.partition("_")[0]], **sections)) for name in names]
    report = folder / "report.json"
    done = run_mpi([WORKER, report, *paths], 2, timeout_s=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    found = json.loads(report.read_text())
    return {name: {**found[name], "losses": read_losses(folder / name)} for name in names}


@pytest.mark.mpi
@pytest.mark.parametrize("layout", LAYOUTS)
def test_losses_are_the_same_bits(runs, layout):
    assert sorted(runs[f"{layout}_off"]["losses"]) == [1, 2, 3]
    assert runs[f"{layout}_off"]["losses"] == runs[f"{layout}_buffers"]["losses"] == runs[f"{layout}_all"]["losses"]


@pytest.mark.mpi
@pytest.mark.parametrize("layout", LAYOUTS)
def test_megatrons_buffers_lie_in_the_arena(runs, layout):
    for use in USES:
        held = runs[f"{layout}_{use}"]["held"]
        assert held and set(held) == {use != "off"}, use


@pytest.mark.mpi
def test_gradients_and_parameters_are_read_where_they_lie(runs):
    """Once a step each; the checkpoint gathers three more vectors, which are no buffers of Megatron's."""
    ways = {use: {way: n for way, n in runs[f"dp2_{use}"]["ways"].items() if way.startswith("dp")} for use in USES}
    assert ways["off"] == {"dp reduce_scatter: slots": 3, "dp all_gather: remote reads": 6}
    assert ways["buffers"] == {"dp reduce_scatter: arena": 3, "dp all_gather: arena": 3,
                               "dp all_gather: remote reads": 3}
    assert ways["all"] == {"dp reduce_scatter: arena": 3, "dp all_gather: arena": 6}


@pytest.mark.mpi
def test_activations_lie_there_too_where_everything_does(runs):
    for layout, operations in (("tp2", {"all_reduce"}), ("tp2sp", {"reduce_scatter", "all_gather"})):
        assert not [way for way in runs[f"{layout}_buffers"]["ways"] if way.startswith("tp") and way.endswith("arena")]
        ways = runs[f"{layout}_all"]["ways"]
        assert {f"tp {operation}: arena" for operation in operations} <= set(ways)
        inside = sum(number for way, number in ways.items() if way.startswith("tp") and way.endswith(": arena"))
        assert inside > 0.9 * sum(number for way, number in ways.items() if way.startswith("tp")), ways
