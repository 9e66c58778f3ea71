"""Collectives on simulated networks. Simulated times do not depend on the machine, so they are asserted."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from megatron_fugaku import cli
from megatron_fugaku.bench import smpi
from megatron_fugaku.bench.smpi import CASES, Case, Overheads, Simulator, build_simulator, write_platform
from megatron_fugaku.errors import EnvironmentError

needs_simgrid = pytest.mark.skipif(shutil.which("smpirun") is None or shutil.which("smpicxx") is None,
                                   reason="SimGrid is not installed: apt-get install libsimgrid-dev")


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    return build_simulator(tmp_path_factory.mktemp("smpi"))


def case_named(name: str, collective: str = "all_reduce", algorithm: str = "lanes") -> Case:
    return next(case for case in CASES if (case.name, case.collective, case.algorithm) == (name, collective, algorithm))


def test_bounds_of_the_links():
    tp = case_named("TP 6")
    assert (tp.num_ranks, tp.num_ports) == (6, 3)
    assert tp.lower_bound_s == pytest.approx(2 * 42_467_328 * 5 / 6 / (3 * 6.8e9), rel=1e-6)
    assert case_named("TP 6", "all_gather").lower_bound_s == pytest.approx(tp.lower_bound_s / 2)
    dp = case_named("DP 288")
    assert (dp.num_ranks, dp.num_ports) == (288, 3)
    assert dp.lower_bound_s == pytest.approx(0.105, rel=1e-3)
    assert Case("", "24x2x24x2x3x2", 1).num_ports == 6  # nine links, but six network interfaces


def test_platform_of_a_line_goes_on_behind_its_end(tmp_path):
    platform, hosts = write_platform(tmp_path, Case("", "3x2l", 1, scale=10))
    cluster = ElementTree.parse(platform).find(".//cluster").attrib
    assert (cluster["topo_parameters"], cluster["radical"], cluster["bw"]) == ("3,4", "0-11", "680000000Bps")
    assert hosts.read_text().split() == [f"node-{i}" for i in range(6)]
    _, hosts = write_platform(tmp_path, Case("", "2lx3", 1))
    assert hosts.read_text().split() == ["node-0", "node-1", "node-4", "node-5", "node-8", "node-9"]


def test_without_simgrid_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentError, match="apt install libsimgrid-dev"):
        build_simulator(tmp_path)


@needs_simgrid
@pytest.mark.slow
@pytest.mark.parametrize(("name", "collective", "share"), [
    ("TP 6", "all_reduce", 0.995), ("TP 6", "reduce_scatter", 0.98), ("TP 6", "all_gather", 0.98),
    ("64", "all_reduce", 0.995), ("64", "reduce_scatter", 0.965), ("64", "all_gather", 0.985),
])
def test_lanes_reach_what_the_links_allow(program, name, collective, share):
    case = case_named(name, collective)
    time_s = Simulator(program).run(case)
    assert share <= case.lower_bound_s / time_s <= 1


@needs_simgrid
@pytest.mark.slow
@pytest.mark.parametrize("collective", ["all_reduce", "reduce_scatter", "all_gather"])
def test_messages_and_memory_that_take_time_cost_little(program, collective):
    case = case_named("TP 6", collective)
    assert 0.97 <= case.lower_bound_s / Simulator(program, Overheads()).run(case) <= 1


@needs_simgrid
@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "torus"), [("ring", "7"), ("halving", "7"), ("doubling", "12"),
                                                  ("lanes", "2x3x2"), ("lanes", "4x3l")])
@pytest.mark.parametrize("collective", ["all_reduce", "reduce_scatter", "all_gather"])
def test_results_are_right(program, algorithm, torus, collective):
    if algorithm == "doubling" and collective != "all_reduce":
        pytest.skip("doubling is an algorithm for all_reduce alone")
    assert Simulator(program).run(Case("", torus, 100_000, collective, algorithm)) > 0


@needs_simgrid
@pytest.mark.slow
def test_lanes_beat_a_ring_that_knows_no_torus_threefold(program, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(smpi, "build_simulator", lambda folder: program)
    monkeypatch.setattr(smpi, "CASES", [case_named("TP 6"), case_named("TP 6", algorithm="ring")])
    assert cli.main(["bench", "smpi", "--json", str(tmp_path / "records.jsonl")]) == 0
    assert "99 %" in capsys.readouterr().out
    lanes, ring = map(json.loads, (tmp_path / "records.jsonl").read_text().splitlines())
    assert (lanes["target"], lanes["ok"], ring["target"]) == (0.99, True, None)
    assert ring["value"] / lanes["value"] == pytest.approx(3, rel=0.01)
    assert lanes["ratio"] > 0.995
