"""``mfugaku bench comm``: its comparisons, its table, and one real run at two ranks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from mpi_helpers import mpi_environment
from stretch import stretched

from megatron_fugaku import cli
from megatron_fugaku.bench.comm import OPERATIONS, Outcome, Timing, compare, render_table, render_verdict
from megatron_fugaku.bench.comm_targets import BEST, GLOO, STOCK


def outcome(*timings: Timing) -> Outcome:
    return Outcome(2, "shared memory", "Open MPI 4.1.4", timings, (0.5, 1.5), 2)


def test_every_peer_and_the_better_one_are_compared():
    records = compare(outcome(Timing("all_reduce", "float32", 1024, {"mfugaku": 1e-5, GLOO: 3e-4, STOCK: 5e-6})))
    load, gloo, stock, best = records
    assert load.value == 1.5 and "load average 0.5 before, 1.5 after" in load.case and load.ok is None
    assert gloo.case == "all_reduce float32 1 KiB on 2 ranks"
    assert (gloo.peer, gloo.ok) == (GLOO, True) and gloo.ratio == pytest.approx(30) and gloo.value == pytest.approx(10)
    assert (stock.peer, stock.target, stock.ratio) == (STOCK, None, pytest.approx(0.5))
    assert (best.peer, best.target, best.ok) == (BEST, 0.95, False)


def test_a_table_marks_what_is_missed_and_leaves_out_who_cannot():
    records = compare(outcome(Timing("all_reduce", "bfloat16", 1 << 20, {"mfugaku": 1e-4, GLOO: 9e-4})))
    header, row = render_table(records).splitlines()
    assert header.split()[:3] == ["time", "per", "call,"]
    assert row.split("ranks")[1].split("  ") and "9.00 (! 10)" in row and "9.00 (0.95)" in row and " - " in row
    assert render_verdict(records).startswith("1 of 2 targets met")


def test_the_operations_offered_are_those_that_ranks_know():
    from megatron_fugaku.bench.comm_cases import CASES

    assert tuple(CASES) == OPERATIONS


@pytest.mark.mpi
@pytest.mark.timeout(150)
def test_a_real_run_writes_a_line_per_comparison(tmp_path):
    path = tmp_path / "comm.jsonl"
    command = [sys.executable, "-m", "megatron_fugaku", "bench", "comm", "--sizes", "1K,300K", "--rounds", "2",
               "--dtypes", "float32,bfloat16", "--json", str(path)]
    done = subprocess.run(command, env=mpi_environment(), capture_output=True, text=True, timeout=stretched(120),
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "load average" in done.stdout and "ours over shared memory" in done.stdout
    load, *records = [json.loads(line) for line in path.read_text().splitlines()]
    assert load["metric"] == "load_average"
    # Nine operations of two sizes, with tensors inside and outside the arena, three of which MPI does not do in
    # bfloat16; barriers have no tensor. Gloo, MPI and the better of them.
    barriers = [record for record in records if record["case"].startswith("barrier")]
    assert len(barriers) == 2 * 3 and len(records) == 2 * 2 * (9 * 3 + 3 * 2 + 6 * 3) + len(barriers)
    assert sum("in the arena" in record["case"] for record in records) == (len(records) - len(barriers)) // 2
    for record in records:
        assert record["value"] > 0 and record["peer_value"] > 0
        assert record["ratio"] == pytest.approx(record["peer_value"] / record["value"], rel=1e-3)
        assert record["ok"] == (None if record["target"] is None else record["ratio"] >= record["target"])


def test_what_cannot_be_measured_is_refused():
    command = [sys.executable, "-m", "megatron_fugaku", "bench", "comm"]
    for options in (["--ops", "all_reduce,shuffle"], ["--sizes", "big"], ["--dtypes", "int8"]):
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=stretched(60), check=False)
        assert done.returncode == 2 and options[0] in done.stderr


def test_a_model_of_a_torus_starts_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("megatron_fugaku.bench.comm.run_plan", lambda *args, **kwargs: pytest.fail("started"))
    path = tmp_path / "torus.jsonl"
    assert cli.main(["bench", "comm", "--simulate", "4x4x4", "--sizes", "1K", "--json", str(path)]) == 0
    assert capsys.readouterr().out.startswith("Modelled, not measured.\nOn 4x4x4 torus: DP 64 on X4 x Y4 x Z4.\n")
    assert {json.loads(line)["benchmark"] for line in path.read_text().splitlines()} == {"torus"}


@pytest.mark.parametrize("options, code, sentence", [
    (["--simulate", "4x"], 4, "torus '4x' is not of the form 48x6x48"),
    (["--plot", "x.png"], 2, "--plot is given without --simulate"),
    (["--config", "run.yaml"], 2, "--config is given without --simulate"),
    (["--simulate", "2x2", "--sizes", "1K", "--json", "absent/x"], 3, "absent/x cannot be written")])
def test_bad_input_of_a_model_is_one_line(tmp_path, capsys, monkeypatch, options, code, sentence):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "comm", *options]) == code
    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1
