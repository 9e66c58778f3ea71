"""Who this process is in its job, read from the launcher's environment without starting MPI."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RankInfo:
    """This process among all, and among those of its node.

    ``launcher`` is the family of variables that told: ``openmpi``, ``pmi``, ``pjm``, ``slurm``, ``torchrun`` or
    ``none``; with ``none`` the process is alone. RANK and WORLD_SIZE, where set, say the numbers under any launcher.
    Local numbers are 0 and 1 where nobody says.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    launcher: str


# Launcher, then its variables for rank, world size, local rank, local world size. The first launcher whose rank and
# size are both set counts. mpirun inside a Slurm allocation sees the SLURM_* of its parent, so Open MPI's own come
# first. MPICH's Hydra sets PMI_*, Fujitsu MPI under PJM PMIX_RANK.
_LAUNCHERS = (
    (
        "openmpi",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    ("pmi", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("pjm", "PMIX_RANK", "PJM_MPI_PROC", "PLE_RANK_ON_NODE", "PJM_PROC_BY_NODE"),
    ("slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
)
_TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def _number(environ: Mapping[str, str], name: str) -> int | None:
    # Slurm writes task counts like "4(x2)": the number of the first node.
    text = environ.get(name, "").partition("(")[0].partition(",")[0]
    return int(text) if text.isdecimal() else None


def _local_numbers(environ: Mapping[str, str], rank: int) -> tuple[int | None, int | None]:
    """The local rank and size from any launcher that knows this process as `rank`, or None."""
    for _, rank_name, _, *local_names in _LAUNCHERS:
        found = [_number(environ, name) for name in local_names]
        if _number(environ, rank_name) == rank and None not in found:
            return found[0], found[1]
    return None, None


def _launched(environ: Mapping[str, str]) -> RankInfo:
    for launcher, *names in _LAUNCHERS:
        rank, world_size, local_rank, local_world_size = (_number(environ, name) for name in names)
        if rank is None or world_size is None:
            continue
        if local_rank is None:
            local_rank, local_world_size = _local_numbers(environ, rank)
        return RankInfo(rank, world_size, local_rank or 0, local_world_size or 1, launcher)
    return RankInfo(0, 1, 0, 1, "none")


def rank_info(environ: Mapping[str, str] | None = None) -> RankInfo:
    """Return this process's place in its job; a process without a launcher is rank 0 of 1."""
    source = os.environ if environ is None else environ
    launched = _launched(source)
    rank, world_size, local_rank, local_world_size = (_number(source, name) for name in _TORCH)
    if rank is None or world_size is None:
        return launched
    return RankInfo(
        rank,
        world_size,
        launched.local_rank if local_rank is None else local_rank,
        launched.local_world_size if local_world_size is None else local_world_size,
        launched.launcher if launched.world_size == world_size else "torchrun",
    )
