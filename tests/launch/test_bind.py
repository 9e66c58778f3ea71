import json
import os
import subprocess
import sys

import pytest

from megatron_fugaku.launch import bind


def test_cpu_sets():
    assert bind.parse_cpu_sets("0,1;2,3") == [{0, 1}, {2, 3}]


def test_the_local_rank_is_what_the_launcher_says():
    assert bind.find_local_rank({"SLURM_LOCALID": "3"}) == 3
    assert bind.find_local_rank({"PMIX_RANK": "9", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}) == 1
    with pytest.raises(KeyError, match="start this under mpirun"):
        bind.find_local_rank({})


def test_the_program_runs_on_its_cpus_in_the_same_process():
    cpus = sorted(os.sched_getaffinity(0))
    sets = ";".join(map(str, cpus))
    program = "import json, os; print(json.dumps([sorted(os.sched_getaffinity(0)), os.getpid()]))"
    environ = {**os.environ, "OMPI_COMM_WORLD_LOCAL_RANK": str(len(cpus) - 1)}
    process = subprocess.Popen([sys.executable, "-S", "-E", bind.__file__, sets, sys.executable, "-c", program],
                               env=environ, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=30)
    assert json.loads(output) == [[cpus[-1]], process.pid]
