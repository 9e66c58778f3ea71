"""Real mpirun, small ranks without torch: what the launcher promises about threads, cores and the end of a job."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from megatron_fugaku.errors import LaunchError
from megatron_fugaku.launch.local import launch_local, plan_local
from megatron_fugaku.launch.machine import Core, Cores
from megatron_fugaku.launch.mpi import MpiRun
from megatron_fugaku.launch.supervise import supervise

PROGRAM = Path(__file__).parent / "programs" / "rank.py"
OPENMPI = MpiRun("mpirun", "openmpi", "4.1.4")
TWO_CORES = Cores((Core((0,), 0), Core((1,), 0)))


def command(folder, way):
    return [sys.executable, "-S", str(PROGRAM), str(folder), way]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def pids_in(folder, pattern="rank*"):
    return [int(path.read_text()) for path in folder.glob(pattern)]


def test_threads_are_shared_and_ranks_bound(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    eight = Cores(tuple(Core((cpu,), cpu // 4) for cpu in range(8)))
    plan = plan_local(["prog"], 2, cores=eight, mpi=OPENMPI)
    assert plan.variables["OMP_NUM_THREADS"] == plan.variables["MKL_NUM_THREADS"] == "4"
    assert plan.variables["OMPI_MCA_mpi_yield_when_idle"] == "0"
    assert plan.argv[-2:] == ("0,1,2,3;4,5,6,7", "prog") and plan.argv[-3].endswith("bind.py")
    assert plan.explain() == ("2 ranks of 4 threads with Open MPI 4.1.4: 2 x 4 of 8 cores on 2 NUMA nodes, each rank "
                              "bound to its own")


def test_more_ranks_than_cores_yield_and_are_not_bound():
    plan = plan_local(["prog"], 4, cores=TWO_CORES, mpi=OPENMPI)
    assert plan.variables["OMPI_MCA_mpi_yield_when_idle"] == "1" and plan.variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert plan.argv[-3:] == ("-n", "4", "prog")


def test_the_callers_wish_for_threads_counts(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert plan_local(["prog"], 1, cores=TWO_CORES, mpi=OPENMPI).placement.num_threads == 2
    assert plan_local(["prog"], 1, cores=TWO_CORES, mpi=OPENMPI, threads_per_rank=1).placement.num_threads == 1
    plan = plan_local(["prog"], 1, cores=TWO_CORES, mpi=OPENMPI, environment={"OMP_NUM_THREADS": "1", "EXTRA": "a b"})
    assert plan.placement.num_threads == 1 and "EXTRA='a b'" in plan.render()


@pytest.mark.mpi
def test_output_comes_through(tmp_path, capfd):
    outcome = launch_local(command(tmp_path, "report"), 2, environment={"EXTRA": "yes"})
    assert outcome.returncode == 0 and outcome.failure is None and outcome.interrupted_by is None
    out, err = capfd.readouterr()
    told = sorted((json.loads(line) for line in out.replace("}{", "}\n{").split("\n") if line), key=lambda x: x["rank"])
    assert [entry["rank"] for entry in told] == [0, 1] and {entry["extra"] for entry in told} == {"yes"}
    assert {entry["threads"] for entry in told} == {"1"}
    assert "rank 0 writes to stderr" in err and "rank 1 writes to stderr" in err
    if len(os.sched_getaffinity(0)) >= 2:
        assert not set(told[0]["cpus"]) & set(told[1]["cpus"])


@pytest.mark.mpi
@pytest.mark.parametrize("way, sentence", [
    ("exit", r"rank 1 ended with exit code 3 after \d+ s; all 4 ranks have been ended\. .*\. (?i:go on so)\."),
    ("signal", r"rank 1 was killed by signal 9 \(SIGKILL\)"),
])
def test_a_rank_that_ends_badly_ends_all(tmp_path, way, sentence):
    started = time.monotonic()
    with pytest.raises(LaunchError, match=sentence) as caught:
        launch_local(command(tmp_path, way), 4, resume_hint="go on so")
    assert time.monotonic() - started < 30 and caught.value.exit_code == 9
    assert len(pids_in(tmp_path)) == 4 and not any(map(is_alive, pids_in(tmp_path)))


@pytest.mark.mpi
def test_kill_9_from_outside_ends_all_within_ten_seconds(tmp_path):
    killed = []

    def kill_rank_2():
        wait_for(lambda: len(pids_in(tmp_path)) == 4)
        os.kill(int((tmp_path / "rank2").read_text()), signal.SIGKILL)
        killed.append(time.monotonic())

    killer = threading.Thread(target=kill_rank_2)
    killer.start()
    with pytest.raises(LaunchError, match=r"rank 2 was killed by signal 9 \(SIGKILL\)"):
        launch_local(command(tmp_path, "stubborn"), 4)
    assert time.monotonic() - killed[0] < 10.0
    killer.join()
    assert not any(map(is_alive, pids_in(tmp_path)))


@pytest.mark.mpi
def test_a_process_that_slipped_away_is_ended(tmp_path):
    assert launch_local(command(tmp_path, "orphan"), 2).returncode == 0
    assert len(pids_in(tmp_path, "orphan*")) == 2 and not any(map(is_alive, pids_in(tmp_path, "orphan*")))


def start_launcher(tmp_path, way):
    code = ("import sys; from megatron_fugaku.launch.local import launch_local\n"
            f"outcome = launch_local({command(tmp_path, way)!r}, 2, grace_s=2.0)\n"
            "print('interrupted by', outcome.interrupted_by)")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(pids_in(tmp_path)) == 2)
    return process


@pytest.mark.mpi
@pytest.mark.parametrize("way", ["wait", "stubborn"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_job_in_bounded_time(tmp_path, way, number):
    process = start_launcher(tmp_path, way)
    process.send_signal(number)
    out, err = process.communicate(timeout=15)
    assert f"interrupted by {int(number)}" in out, err
    assert not any(map(is_alive, pids_in(tmp_path)))


@pytest.mark.mpi
def test_ranks_end_with_a_launcher_that_is_killed(tmp_path):
    process = start_launcher(tmp_path, "stubborn")
    process.kill()
    process.communicate(timeout=15)
    wait_for(lambda: not any(map(is_alive, pids_in(tmp_path))), timeout_s=10)


def test_what_cannot_be_started_is_said():
    with pytest.raises(LaunchError, match=r"(?i)no rank was started"):
        supervise(["/nowhere/mpirun"], {})
