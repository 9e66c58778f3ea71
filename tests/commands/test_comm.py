"""``mfugaku comm table``."""

from __future__ import annotations

from megatron_fugaku import cli


def test_own_rules_come_first(monkeypatch, capsys):
    monkeypatch.setenv("MFUGAKU_COMM_ALGORITHM", "all_reduce:65536=lanes:2x3,all=ring")
    assert cli.main(["comm", "table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Groups within one node: shared memory")
    assert lines[2:4] == ["  all_reduce:65536=lanes:2x3", "  all=ring"]
    assert len(lines) > 5  # the built-in ones follow


def test_without_shared_memory(monkeypatch, capsys):
    monkeypatch.setenv("MFUGAKU_COMM_TRANSPORT", "mpi")
    assert cli.main(["comm", "table"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Groups within one node: as between nodes") and "lanes" not in said


def test_a_rule_that_is_none(monkeypatch, capsys):
    monkeypatch.setenv("MFUGAKU_COMM_ALGORITHM", "all_reduce=fastest")
    assert cli.main(["comm", "table"]) == 3
    assert "'all_reduce=fastest' is not COLLECTIVE[:BYTES]=ALGORITHM" in capsys.readouterr().err
