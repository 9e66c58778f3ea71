"""The model of links against the core's schedules on SimGrid, in times that do not depend on the machine."""

from __future__ import annotations

import json

import numpy as np
import pytest

from megatron_fugaku import cli
from megatron_fugaku.bench import smpi_model
from megatron_fugaku.bench.smpi import Simulator
from megatron_fugaku.bench.smpi_model import CASES, FLUID_MODEL, OVERHEADS, OVERHEADS_MODEL, Layout, PlacedCase
from megatron_fugaku.plan.rank_matrix import RankMatrix

#: A few seconds of CPU all together, and not the one that the model is known to get wrong with overheads.
QUICK = [case for case in CASES if (case.algorithm != "lanes" or case.num_ranks == 6)
         and (case.algorithm, case.num_bytes) != ("ring", 64_000)]


def test_machines_and_nodes_of_layouts():
    """SimGrid's numbers run with the first axis fastest, ours with the last, and open axes go on behind their end."""
    row = PlacedCase("", "8", 1, layout=Layout("4x4", RankMatrix(2, 8, 1)))
    assert (row.machine, row.num_ranks, row.num_members) == ((4, 4), 16, 8)
    assert row.nodes == [*range(0, 16, 2), *range(1, 16, 2)]
    assert PlacedCase("", "8", 1, layout=Layout("4lx2", RankMatrix(8, 1, 1))).machine == (8, 2)
    searched = Layout("4x6x4", RankMatrix(6, 16, 1), "tp", True)
    assert searched.shape == "3x2" and searched.groups.shape == (16, 6)
    places = searched.torus.coordinates(searched.groups[0])
    assert np.ptp(places, axis=0).tolist() == [0, 0, 0, 0, 2, 1]  # B and C
    assert (np.diff(places[:3, 4]) != 0).all() and (places[:3, 5] == places[0, 5]).all()  # B runs fastest


@pytest.mark.slow
@pytest.mark.parametrize("costs, model", [(None, FLUID_MODEL), (OVERHEADS, OVERHEADS_MODEL)])
def test_the_model_agrees_with_simgrid(simulator_program, costs, model):
    simulator = Simulator(simulator_program, costs)
    assert len(QUICK) == 9
    for case in QUICK:
        record = smpi_model.compare(case, simulator.run(case), model)
        assert smpi_model.is_close(record), record


def test_what_differs_is_marked(simulator_program, monkeypatch, capsys, tmp_path):
    case = next(case for case in CASES if case.algorithm == "doubling")
    monkeypatch.setattr(smpi_model, "build_simulator", lambda folder: simulator_program)
    monkeypatch.setattr(smpi_model, "CASES", [case])
    command = ["bench", "smpi", "--model", "--json", str(tmp_path / "records.jsonl")]
    assert cli.main(command) == 0
    assert "differs" not in capsys.readouterr().out
    record = json.loads((tmp_path / "records.jsonl").read_text())
    assert record["peer"] == "SimGrid SMPI" and record["ratio"] == pytest.approx(1, abs=0.01)
    monkeypatch.setattr(smpi_model, "TOLERANCE", 0.0)
    assert cli.main(command) == 0
    assert "differs" in capsys.readouterr().out
    assert cli.main([*command, "--cases", "TP 6"]) == 2
