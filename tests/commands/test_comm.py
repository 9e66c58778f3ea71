"""``mfugaku comm``: rules, flags for C compilers, and the library for LD_PRELOAD."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mpi_helpers import run_mpi

from megatron_fugaku import cli


def test_own_rules_come_first(monkeypatch, capsys, tmp_path):
    (tmp_path / "table.json").write_text('{"rules": ["all_gather@16=swing"]}')
    monkeypatch.setenv("MFUGAKU_COMM_TABLE", str(tmp_path / "table.json"))
    monkeypatch.setenv("MFUGAKU_COMM_ALGORITHM", "all_reduce:65536=lanes:2x3,all_reduce=ring")
    assert cli.main(["comm", "table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Groups within one node: shared memory")
    assert [line.split()[:2] for line in lines[2:5]] == [
        ["all_reduce:65536=lanes:2x3", "asked"], ["all_reduce=ring", "asked"], ["all_gather@16=swing", "measured,"]]
    assert lines[5].startswith("Costs of the model, built in: call ")
    assert [line.split()[:4] for line in lines if line.startswith("  all_gather 4 MiB")] == [
        ["all_gather", "4", "MiB", "swing"]]


def chosen_by(lines: list[str], collective: str) -> dict[str, str]:
    """The algorithm of each size in a printed table."""
    words = [line.split() for line in lines if line.startswith(f"  {collective} ")]
    return {" ".join(line[1:3]): line[3] for line in words}


def test_the_model_chooses_where_no_rule_fits(monkeypatch, capsys, tmp_path):
    assert cli.main(["comm", "table", "--ranks", "64", "--ranks-per-node", "4"]) == 0
    built_in = chosen_by(capsys.readouterr().out.splitlines(), "all_reduce")
    assert built_in["1 KiB"] in ("doubling", "mpi") and built_in["1 GiB"].startswith("hierarchical+")
    # An MPI that costs nothing.
    costs_s = {"call": 1e-6, "round": 1e-6, "message": 1e-6, "byte": 1e-9, "summed_byte": 0, "mpi_round": 0,
               "mpi_byte": 1e-12, "mpi_summed_byte": 0}
    (tmp_path / "table.json").write_text(json.dumps({"rules": ["all_reduce:1048576=swing"], "costs_s": costs_s}))
    monkeypatch.setenv("MFUGAKU_COMM_TABLE", str(tmp_path / "table.json"))
    assert cli.main(["comm", "table", "--ranks", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Costs of the model, measured, of ") for line in lines)
    assert chosen_by(lines, "all_reduce") == {"1 KiB": "mpi", "16 KiB": "mpi", "256 KiB": "mpi", "4 MiB": "swing",
                                              "64 MiB": "swing", "1 GiB": "swing"}


@pytest.mark.parametrize("arguments", [("--ranks", "1"), ("--ranks", "6", "--ranks-per-node", "4"),
                                       ("--ranks-per-node", "0")])
def test_a_group_without_choices_is_refused(capsys, arguments):
    assert cli.main(["comm", "table", *arguments]) == 6
    assert "has no algorithms" in capsys.readouterr().err


def test_without_shared_memory(monkeypatch, capsys):
    monkeypatch.setenv("MFUGAKU_COMM_TRANSPORT", "mpi")
    assert cli.main(["comm", "table"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Groups within one node: as between nodes") and "lanes" not in said


def test_a_rule_that_is_none(monkeypatch, capsys):
    monkeypatch.setenv("MFUGAKU_COMM_ALGORITHM", "all_reduce=fastest")
    assert cli.main(["comm", "table"]) == 3
    assert "'all_reduce=fastest' is not COLLECTIVE[@RANKS][:BYTES]=ALGORITHM" in capsys.readouterr().err


def test_errors_of_narrow_wires_are_rehearsed(capsys):
    assert cli.main(["comm", "wire", "--ranks", "12", "--algorithm", "ring", "--algorithm", "lanes:4x3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["ring", "lanes:4x3"]
    wide, bf16, fp16 = (float(cell) for cell in lines[2].split()[1::2])
    assert wide < 1e-6 < fp16 < 3e-3 < bf16 < 3e-2


def test_a_schedule_for_other_ranks_is_refused(capsys):
    for name in ("lanes:2x3", "doubling", "mpi", "quick"):
        assert cli.main(["comm", "wire", "--ranks", "12", "--algorithm", name]) != 0
        assert name in capsys.readouterr().err
    assert cli.main(["comm", "wire", "--ranks", "1"]) != 0


@pytest.mark.mpi
@pytest.mark.timeout(240)
def test_rules_are_measured_and_used(tmp_path):
    table = tmp_path / "table.json"
    arguments = ["-m", "megatron_fugaku", "comm", "tune", "--max-bytes", "5000", "--shape", "2", "--output", table]
    done = run_mpi(arguments, 2, env={"MFUGAKU_COMM_TRANSPORT": "mpi", "MFUGAKU_COMM_TABLE": ""})
    assert done.returncode == 0, done.stderr
    content = json.loads(table.read_text())
    assert content["ranks"] == 2
    tried = {(collective, num_bytes, name) for collective, num_bytes, name, _ in content["times_s"]}
    assert ("reduce_scatter", 4096, "lanes:2") in tried and ("all_gather", 1024, "doubling") not in tried
    assert all(time_s > 0 for *_, time_s in content["times_s"])
    assert any(rule.startswith("all_reduce@2=") for rule in content["rules"])
    assert all(0 <= cost_s < 1e-3 for cost_s in content["costs_s"].values())
    assert "Without the rules, by these costs alone" in done.stdout
    script = ("import torch.distributed as dist, megatron_fugaku.comm as comm; dist.init_process_group('mpi'); "
              "print(comm.algorithms()[0]); dist.destroy_process_group()")
    used = run_mpi(["-c", script], 2, env={"MFUGAKU_COMM_TABLE": str(table)})
    assert used.stdout.split() == [content["rules"][0]] * 2, used.stderr


def test_libraries_for_programs_in_c_are_named(capsys):
    assert cli.main(["comm", "preload"]) == 0
    preload = Path(capsys.readouterr().out.strip())
    assert preload.is_file() and preload.name == "libmfugaku_preload.so"
    assert cli.main(["comm", "preload", str(preload)]) == 0  # it is linked with an MPI, too
    assert Path(capsys.readouterr().out.strip()) == preload
    assert cli.main(["comm", "flags"]) == 0
    include, folder, *_ = capsys.readouterr().out.split()
    assert Path(include[2:], "mfugaku_comm.h").is_file() and Path(folder[2:]) == preload.parent


def test_a_program_without_mpi_is_refused(capsys):
    assert cli.main(["comm", "preload", __file__]) != 0
    message = capsys.readouterr().err
    assert "is not linked with an MPI" in message and message.count("\n") == 1
