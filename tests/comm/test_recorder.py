"""The flight recorder of real ranks, read while they hang, after they were killed, and after a good end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mpi_helpers import mpi_environment, run_mpi
from small_run import small_config, write_config
from stretch import stretched

from megatron_fugaku import cli
from megatron_fugaku.errors import DataError
from megatron_fugaku.flight import explain_stuck, load_flight, path_of

WORKERS = Path(__file__).parent / "workers"
pytestmark = [pytest.mark.mpi, pytest.mark.timeout(150)]


def wait_for_sentences(folder: Path, parts: tuple[str, ...]) -> list[str]:
    """As many sentences as parts, each part in one of them: earlier, some rank was still on its way."""
    deadline = time.monotonic() + stretched(60)
    while time.monotonic() < deadline:
        try:
            sentences = explain_stuck(load_flight(folder), 0.5)
        except DataError:
            sentences = []
        if len(sentences) == len(parts) and all(any(part in text for text in sentences) for part in parts):
            return sentences
        time.sleep(0.1)
    raise AssertionError(f"not {parts}, but {sentences}")


@pytest.fixture
def hang(tmp_path):
    """Starts ranks that hang and gives their sentences; all are gone afterwards."""
    started = []

    def start(instead: str, *parts: str) -> list[str]:
        command = ["mpirun", "--oversubscribe", "-n", "3", sys.executable, str(WORKERS / "recording.py"), instead]
        environment = mpi_environment({"MFUGAKU_COMM_FLIGHT_DIR": str(tmp_path / "flight")})
        started.append(subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL))
        return wait_for_sentences(tmp_path / "flight", parts)

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_who_waits_in_a_job_that_hangs(hang, tmp_path, capsys):
    [sentence] = hang("sleeps", "ranks 0, 1 wait since")
    assert sentence.startswith("group 'all ranks' (ranks 0, 1, 2): ranks 0, 1 wait since ")
    assert "in all_reduce number 1501 (1 MiB, shared memory); missing: rank 2 is in no operation since " in sentence
    assert sentence.endswith("its last was all_reduce number 1500 of group 'all ranks'.")
    records = load_flight(tmp_path)  # as in a run folder
    assert [(record.rank, record.num_ranks, record.is_alive) for record in records] == [(r, 3, True) for r in range(3)]
    assert [len(record.operations) for record in records] == [1024] * 3
    pair = [operation for operation in records[1].operations if operation.group.label == "pair"]
    assert [(operation.sequence, operation.num_bytes, operation.group.members) for operation in pair] == [
        (1, 32, (0, 1))]
    trace = tmp_path / "trace.json"
    assert cli.main(["xray", str(tmp_path), "--min-wait", "0.5", "--trace", str(trace)]) == 1
    assert "missing: rank 2" in capsys.readouterr().out and '"traceEvents"' in trace.read_text()


def test_what_a_rank_does_instead(hang):
    sentences = hang("receives", "rank 2 waits since", "ranks 0, 1 wait since")
    # Rank 2 waits for a message of rank 1, which waits for rank 2: neither is to blame more than the other.
    waits = "in recv number 1 from rank 1 (8 B); rank 1 is in all_reduce number 1501"
    assert any("rank 2 waits since " in text and waits in text for text in sentences), sentences
    assert any("missing: rank 2 is in recv number 1 from rank 1 of group 'all ranks'." in text for text in sentences)


def test_killed_ranks_leave_their_records(hang, tmp_path):
    hang("sleeps", "ranks 0, 1 wait since")
    pids = [record.pid for record in load_flight(tmp_path)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    deadline = time.monotonic() + 10
    while any(record.is_alive for record in load_flight(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    [sentence] = explain_stuck(load_flight(tmp_path), 0.5)
    assert "ranks 0, 1 wait since" in sentence and f"rank 2 is gone (process {pids[2]} on " in sentence


def test_a_good_end(small_manifest, tmp_path, capsys):
    run = tmp_path / "run"
    config = write_config(tmp_path / "run.yaml", small_config(small_manifest, run, train={"train_iters": 6}))
    (run / "flight").mkdir(parents=True)
    path_of(run / "flight", 7).write_bytes(b"of an earlier job")
    done = run_mpi(["-m", "megatron_fugaku", "pretrain", config], 2)
    assert done.returncode == 0, done.stderr[-3000:]
    records = load_flight(run)
    assert [(record.rank, record.ending) for record in records] == [(0, "finalized"), (1, "finalized")]
    assert not path_of(run / "flight", 7).exists()
    assert cli.main(["xray", str(run)]) == 0
    assert "nothing has been waited for 1 s or more on the 2 of 2 ranks" in capsys.readouterr().out
    written = run_mpi(["-m", "megatron_fugaku", "generate", run, "--prompt", "def", "--max-new-tokens", "2"], 1)
    assert written.returncode == 0, written.stderr[-3000:]
    assert load_flight(run) == records  # what came after the training has not touched them


@pytest.mark.slow
def test_the_launcher_says_who_was_missing(small_manifest, tmp_path):
    """A rank that is stopped dies of nothing: the others give up after their timeout, and the job with them."""
    run = tmp_path / "run"
    content = small_config(small_manifest, run, parallel={"tensor_model_parallel_size": 2},
                           train={"train_iters": 10_000})
    config = write_config(tmp_path / "run.yaml", content)
    command = [sys.executable, "-m", "megatron_fugaku", "launch", "local", str(config), "--num-ranks=2"]
    environment = mpi_environment({"MFUGAKU_COMM_TIMEOUT_S": "4"})
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        deadline = time.monotonic() + 90
        while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count('"train"') < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        stopped = {record.rank: record.pid for record in load_flight(run)}[1]
        os.kill(stopped, signal.SIGSTOP)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 9, said
    assert "did not finish within the timeout of 4 s" in said
    [sentence] = [line for line in said.splitlines() if line.startswith("mfugaku launch: group '")]
    assert "rank 0 waits since 4." in sentence
    # It was stopped outside the operation, or in the middle of it; mpirun wakes it up to end it.
    assert "missing: rank 1" in sentence or "all have come, but " in sentence
    deadline = time.monotonic() + 10
    while psutil.pid_exists(stopped) and psutil.Process(stopped).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the stopped rank is still there"
        time.sleep(0.05)
