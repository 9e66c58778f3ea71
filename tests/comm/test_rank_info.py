"""Who a process is, from each launcher's variables."""

from __future__ import annotations

import pytest

from megatron_fugaku.comm.rank_info import RankInfo, rank_info

OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}
SLURM_STEP = {
    "SLURM_PROCID": "6",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, RankInfo(0, 1, 0, 1, "none")),
        (OPENMPI, RankInfo(5, 8, 1, 4, "openmpi")),
        (SLURM_STEP, RankInfo(6, 8, 2, 4, "slurm")),
        # mpirun inside an allocation: the Slurm variables are those of mpirun's own step.
        ({**SLURM_STEP, **OPENMPI}, RankInfo(5, 8, 1, 4, "openmpi")),
        # A batch script's own shell is no step of many tasks.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, RankInfo(0, 1, 0, 1, "none")),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, RankInfo(3, 4, 0, 1, "pmi")),
        # srun with PMI: only Slurm knows the local numbers.
        ({**SLURM_STEP, "PMI_RANK": "6", "PMI_SIZE": "8"}, RankInfo(6, 8, 2, 4, "pmi")),
        ({"PMIX_RANK": "7", "PJM_MPI_PROC": "12"}, RankInfo(7, 12, 0, 1, "pjm")),
        ({**OPENMPI, "RANK": "2", "WORLD_SIZE": "8"}, RankInfo(2, 8, 1, 4, "openmpi")),
        ({"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, RankInfo(2, 4, 1, 1, "torchrun")),
        ({"RANK": "2"}, RankInfo(0, 1, 0, 1, "none")),
    ],
)
def test_launchers(environ, expected):
    assert rank_info(environ) == expected
