"""``mfugaku bench preload``: its table, and one real run at two ranks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from mpi_helpers import mpi_environment
from stretch import stretched

from megatron_fugaku.bench import preload
from megatron_fugaku.bench.comm_targets import STOCK
from megatron_fugaku.bench.records import Record
from megatron_fugaku.errors import EnvironmentError


def test_a_table_marks_what_became_slower():
    records = [Record("preload", "2 ranks", "load_average", 1.0, "processes"),
               Record("preload", "MPI_Allreduce", "time_per_call", 10.0, "us", STOCK, 25.0, 0.95),
               Record("preload", "MPI_Allgather", "time_per_call", 10.0, "us", STOCK, 9.0, 0.95)]
    header, faster, slower = preload.render_table(records).splitlines()
    assert header.split()[-4:] == ["preloaded", "stock", "MPI", "ratio"]
    assert faster.split()[-1] == "2.50" and slower.split()[-2:] == ["!", "0.90"]


def test_a_source_that_does_not_compile_is_an_error(tmp_path):
    source = tmp_path / "wrong.c"
    source.write_text("int main(void) { return missing; }\n")
    with pytest.raises(EnvironmentError, match=r"wrong\.c cannot be compiled: .*missing"):
        preload.compile_program(source, tmp_path / "program")


@pytest.mark.mpi
@pytest.mark.timeout(150)
def test_a_real_run_writes_a_line_per_comparison(tmp_path):
    path = tmp_path / "preload.jsonl"
    command = [sys.executable, "-m", "megatron_fugaku", "bench", "preload", "--sizes", "1K,2M", "--starts", "1",
               "--json", str(path)]
    done = subprocess.run(command, env=mpi_environment({"MFUGAKU_PRELOAD_REPORT": "1"}), capture_output=True, text=True,
                          timeout=stretched(120), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    load, *records = [json.loads(line) for line in path.read_text().splitlines()]
    assert load["metric"] == "load_average" and len(records) == 3 * 2
    for record in records:
        assert record["peer"] == STOCK
        assert record["ratio"] == pytest.approx(record["peer_value"] / record["value"], 1e-3)
    # Once with the library, and there for the long vectors alone.
    reports = [line for line in done.stderr.splitlines() if "calls served" in line]
    assert len(reports) == 3 and all(" 0 of " not in line for line in reports)
