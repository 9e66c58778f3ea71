"""Collectives on simulated networks. Simulated times do not depend on the machine, so they are asserted."""

from __future__ import annotations

import json
from math import inf, prod

import psutil
import pytest

from megatron_fugaku import cli
from megatron_fugaku.bench import smpi
from megatron_fugaku.bench.smpi import CASES, Case, Overheads, Simulator, build_simulator, write_network
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.plan.tofu import LINK_BYTES_PER_S


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


def read_network(folder) -> dict[str, str]:
    return dict(line.split() for line in (folder / "network.txt").read_text().splitlines())


def test_network_of_a_line_goes_on_behind_its_end(tmp_path):
    hosts = write_network(tmp_path, Case("", "3x2l", 1, scale=10))
    assert read_network(tmp_path) == {"nodes": "3x4", "link_bytes_per_s": "680000000.0", "hop_s": "1e-07",
                                      "put_s": "1e-07", "node_bytes_per_s": "0.0"}
    assert hosts.read_text().split() == [f"node-{i}" for i in range(6)]
    hosts = write_network(tmp_path, Case("", "2lx3", 1))
    assert hosts.read_text().split() == ["node-0", "node-1", "node-4", "node-5", "node-8", "node-9"]


@pytest.mark.parametrize(("torus", "limit"), [("2x3", 0), ("24x12l", 0), ("3x3x2", 0), ("4x4x4", 3.81e9)])
def test_nodes_are_limited_where_their_links_are_more_than_they_can_send(tmp_path, torus, limit):
    write_network(tmp_path, Case("", torus, 1, scale=10), Overheads())
    network = read_network(tmp_path)
    assert float(network["node_bytes_per_s"]) == limit and float(network["put_s"]) == 0.49e-6


def test_without_simgrid_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentError, match="apt install libsimgrid-dev"):
        build_simulator(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "collective", "share"), [
    ("TP 6", "all_reduce", 0.995), ("TP 6", "reduce_scatter", 0.98), ("TP 6", "all_gather", 0.98),
    ("64", "all_reduce", 0.995), ("64", "reduce_scatter", 0.965), ("64", "all_gather", 0.985),
])
def test_lanes_reach_what_the_links_allow(simulator_program, name, collective, share):
    case = case_named(name, collective)
    time_s = Simulator(simulator_program).run(case)
    assert share <= case.lower_bound_s / time_s <= 1


@pytest.mark.slow
@pytest.mark.parametrize("collective", ["all_reduce", "reduce_scatter", "all_gather"])
def test_messages_and_memory_that_take_time_cost_little(simulator_program, collective):
    case = case_named("TP 6", collective)
    assert 0.97 <= case.lower_bound_s / Simulator(simulator_program, Overheads()).run(case) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "torus"), [("ring", "7"), ("halving", "7"), ("doubling", "12"),
                                                  ("lanes", "2x3x2"), ("lanes", "4x3l")])
@pytest.mark.parametrize("collective", ["all_reduce", "reduce_scatter", "all_gather"])
def test_results_are_right(simulator_program, algorithm, torus, collective):
    if algorithm == "doubling" and collective != "all_reduce":
        pytest.skip("doubling is an algorithm for all_reduce alone")
    assert Simulator(simulator_program).run(Case("", torus, 100_000, collective, algorithm)) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("torus", "hops"), [("2", 1), ("2x2x2", 3), ("16", 1 + 2 + 4 + 8)])
def test_a_put_and_its_hops_take_their_time(simulator_program, torus, hops):
    """Doubling takes one message per round, the first link of which takes longer with overheads."""
    case = Case("", torus, 64, algorithm="doubling")
    overheads = Overheads(message_s=0, memory_bytes_per_s=inf)
    fluid, slower = (Simulator(simulator_program, costs).run(case) for costs in (None, overheads))
    num_rounds = case.num_ranks.bit_length() - 1
    assert fluid == pytest.approx(hops * 0.1e-6, rel=0.2)  # and a few bytes
    assert slower - fluid == pytest.approx(num_rounds * (0.49e-6 - 0.1e-6), rel=1e-6)


@pytest.mark.slow
def test_nodes_send_no_more_than_their_interfaces(simulator_program):
    case = Case("", "3x3x3", 6_912_000, num_segments=2)
    free, one_link = (Simulator(simulator_program, Overheads(0, inf, limit, 0.1e-6)).run(case)
                      for limit in (1e12, LINK_BYTES_PER_S))
    assert free < 2 * case.lower_bound_s
    assert 1 <= one_link / (6 * case.lower_bound_s) < 1.05


@pytest.mark.slow
@pytest.mark.parametrize(("torus", "collective", "algorithm"), [
    ("8x8x8", "reduce_scatter", "lanes"), ("8x8x8", "all_gather", "lanes"), ("8x8x8", "all_reduce", "swing"),
    ("4x4x3x2x3x2", "all_reduce", "lanes"),
])
def test_hundreds_of_ranks_have_right_results(simulator_program, torus, collective, algorithm):
    """A cube of 512 nodes, and 4x4x3 units of Tofu-D with all its axes. A short vector, for the time of simulating."""
    case = Case("", torus, 256 * prod(map(int, torus.split("x"))), collective, algorithm, num_segments=1)
    assert case.num_ranks >= 512
    time_s = Simulator(simulator_program).run(case)
    assert case.lower_bound_s < time_s < 3 * case.lower_bound_s


@pytest.mark.slow
def test_a_simulation_that_takes_too_long_is_ended_with_its_children(simulator_program):
    case = Case("", "8x8x8", 1 << 20, algorithm="ring")
    with pytest.raises(EnvironmentError, match="smpirun of  did not end within 1 s"):
        Simulator(simulator_program, timeout_s=1).run(case)
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    assert not [command for command in commands if str(simulator_program) in " ".join(command)]


@pytest.mark.slow
def test_lanes_beat_a_ring_that_knows_no_torus_threefold(simulator_program, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(smpi, "build_simulator", lambda folder: simulator_program)
    monkeypatch.setattr(smpi, "CASES", [case_named("TP 6"), case_named("TP 6", algorithm="ring")])
    assert cli.main(["bench", "smpi", "--json", str(tmp_path / "records.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert "99 %" in printed and " s CPU, " in printed
    lanes, ring = map(json.loads, (tmp_path / "records.jsonl").read_text().splitlines())
    assert (lanes["target"], lanes["ok"], ring["target"]) == (0.99, True, None)
    assert ring["value"] / lanes["value"] == pytest.approx(3, rel=0.01)
    assert lanes["ratio"] > 0.995
