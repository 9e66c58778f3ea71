"""Rules that were measured: the file, and how they follow from times."""

from __future__ import annotations

import json
import re

import pytest

from megatron_fugaku.comm.measured import Measured, load_measured, rules_from, shared_measured
from megatron_fugaku.errors import CommError


def test_the_fastest_wins_from_halfway_between_sizes():
    times_s = {("all_reduce", 1 << 10, "mpi"): 1.0, ("all_reduce", 1 << 10, "ring"): 2.0,
               ("all_reduce", 1 << 14, "mpi"): 4.0, ("all_reduce", 1 << 14, "ring"): 3.9,
               ("all_reduce", 1 << 18, "mpi"): 9.0, ("all_reduce", 1 << 18, "ring"): 5.0,
               ("all_gather", 1 << 10, "swing"): 1.0}
    assert rules_from(times_s, 6) == ["all_reduce@6:65536=ring", "all_reduce@6=mpi", "all_gather@6=swing"]


NAMES = ["round", "byte"]


def test_a_file_is_read(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"rules": ["all_reduce@6:65536=ring", "all=swing:2x3"]}))
    assert load_measured(path, NAMES) == Measured("all_reduce@6:65536=ring,all=swing:2x3")
    path.write_text(json.dumps({"rules": [], "costs_s": {"byte": 1e-9, "round": 2e-6}}))
    assert load_measured(path, NAMES) == Measured("", (2e-6, 1e-9))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rules": ["all=quick"]}', '{"rules": [3]}',
                                  '{"rules": [], "costs_s": {"round": 1e-6}}',
                                  '{"rules": [], "costs_s": {"round": 1e-6, "byte": -1e-9}}',
                                  '{"rules": [], "costs_s": {"round": 1e-6, "byte": 2}}',
                                  '{"rules": [], "costs_s": {"round": 1e-6, "byte": "1e-9"}}',
                                  '{"rules": [], "costs_s": {"round": NaN, "byte": 1e-9}}',
                                  '{"rules": [], "costs_s": [1e-6, 1e-9]}'])
def test_what_is_no_table_is_refused(tmp_path, text):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(CommError, match=re.escape(str(path))):
        load_measured(path, NAMES)


class Everybody:
    """What rank 0 tells, heard by all ranks."""

    said = ""

    def cost_names(self) -> list[str]:
        return NAMES

    def broadcast_text(self, text: str, root: int) -> str:
        self.said = text or self.said
        return self.said


def test_rank_0_reads_for_all(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"rules": ["all=ring"], "costs_s": {"byte": 1e-9, "round": 2e-6}}))
    monkeypatch.setenv("MFUGAKU_COMM_TABLE", str(path))
    everybody = Everybody()
    assert shared_measured(everybody, 0) == Measured("all=ring", (2e-6, 1e-9))
    monkeypatch.setenv("MFUGAKU_COMM_TABLE", str(tmp_path / "another"))
    assert shared_measured(everybody, 1) == Measured("all=ring", (2e-6, 1e-9))
    with pytest.raises(CommError, match="another"):
        shared_measured(everybody, 0)
    with pytest.raises(CommError, match="another"):
        shared_measured(everybody, 1)
    monkeypatch.delenv("MFUGAKU_COMM_TABLE")
    assert shared_measured(everybody, 0) == shared_measured(everybody, 1) == Measured()
