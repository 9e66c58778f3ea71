"""The files that put ranks on their nodes: Fujitsu MPI's vcoordfile, Open MPI's rankfile, Slurm's host list.

Each has a parser, which tests use and which reads a file back that somebody changed by hand. Nodes of Open MPI and
Slurm are numbered in row order: the first axis of the torus fastest.

Sources: MPI User's Guide j2ul-2565, section 4.5 (vcoordfile: line i is rank i, coordinates in brackets, all lines or
none have them); mpirun(1) of Open MPI 4, "Rankfiles", also for the relative node names +n0, +n1, ...; srun(1),
``--distribution=arbitrary``: task i runs on the i-th name of the file that SLURM_HOSTFILE names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.torus import Torus

VCOORDFILE, RANKFILE, HOSTFILE = "vcoordfile", "rankfile", "slurm_hostfile"


def row_numbers(torus: Torus, coordinates: np.ndarray) -> np.ndarray:
    """Return the numbers of nodes in row order; coordinates are the batch system's, int64 of shape (n, axes)."""
    sizes = torus.logical_sizes
    return np.ravel_multi_index(tuple(coordinates.T[::-1]), sizes[::-1])


def check_hosts(hosts: Sequence[str], num_nodes: int) -> None:
    """Check that there is one name for every node.

    Raises:
        PlanError: there are more, fewer or equal ones.
    """
    if len(hosts) != num_nodes or len(set(hosts)) != num_nodes:
        raise PlanError(f"{len(hosts)} host names, {len(set(hosts))} of them different, are given for {num_nodes} "
                        "nodes", "every node of the torus has one name",
                        "list each once, the first axis of the torus fastest", "--hosts")


def render_vcoordfile(coordinates: np.ndarray, cores_per_rank: int | None = None) -> str:
    """Return the text of Fujitsu MPI's vcoordfile: line i holds the node of rank i, such as ``(0,3,1)``.

    Args:
        coordinates: the batch system's, int64 of shape (ranks, 1 to 3).
        cores_per_rank: adds ``core=N``, for nodes that several ranks share.

    Raises:
        PlanError: there are more than three coordinates.
    """
    if coordinates.shape[1] > 3:
        raise PlanError(f"the torus has {coordinates.shape[1]} axes", "a vcoordfile has one to three coordinates",
                        "give the shape of the job, such as 48x6x48", "--torus")
    cores = f" core={cores_per_rank}" if cores_per_rank else ""
    return "".join(f"({','.join(map(str, node))}){cores}\n" for node in coordinates.tolist())


def parse_vcoordfile(text: str) -> tuple[np.ndarray, int | None]:
    """Return (coordinates of every rank, cores per rank) of a vcoordfile.

    Raises:
        PlanError: a line is none of a vcoordfile with coordinates, or lines differ in form.
    """
    rows, cores = [], set()
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"\((\d+(?:,\d+){0,2})\)(?: core=(\d+))?", line.strip())
        if match is None:
            raise _bad_line(VCOORDFILE, number, line, "(0,3,1) core=12")
        rows.append([int(value) for value in match[1].split(",")])
        cores.add(match[2] and int(match[2]))
    if not rows or len({len(row) for row in rows}) > 1 or len(cores) > 1:
        raise PlanError("the lines of the vcoordfile differ in form, or there are none", "ranks would have no node",
                        "give every line the same number of coordinates and cores", VCOORDFILE)
    return np.array(rows, np.int64), cores.pop()


def render_rankfile(nodes: np.ndarray, cpus_per_rank: int, hosts: Sequence[str] | None = None) -> str:
    """Return Open MPI's rankfile: ``rank 3=+n17 slot=0-11``.

    Args:
        nodes: number of each rank's node in row order, int64 of shape (ranks,).
        cpus_per_rank: cores of a rank; the ranks of a node take them one after the other.
        hosts: names of the nodes in row order; None numbers the nodes of the allocation.
    """
    used: dict[int, int] = {}
    lines = []
    for rank, node in enumerate(nodes.tolist()):
        first = used.get(node, 0) * cpus_per_rank
        used[node] = used.get(node, 0) + 1
        last = f"-{first + cpus_per_rank - 1}" if cpus_per_rank > 1 else ""
        lines.append(f"rank {rank}={hosts[node] if hosts else f'+n{node}'} slot={first}{last}\n")
    return "".join(lines)


def parse_rankfile(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Return (node of every rank, first and last slot of every rank).

    Raises:
        PlanError: a line is none of a rankfile as written here, or ranks are missing.
    """
    found: dict[int, tuple[str, tuple[int, int]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"rank (\d+)=(\S+) slot=(\d+)(?:-(\d+))?", line.strip())
        if match is None or int(match[1]) in found:
            raise _bad_line(RANKFILE, number, line, "rank 3=+n17 slot=0-11, each rank once")
        found[int(match[1])] = match[2], (int(match[3]), int(match[4] or match[3]))
    if sorted(found) != list(range(len(found))):
        raise PlanError(f"the rankfile has {len(found)} ranks, not all from 0 to {len(found) - 1}",
                        "ranks without a line have no node", "give every rank a line", RANKFILE)
    return [found[rank][0] for rank in range(len(found))], [found[rank][1] for rank in range(len(found))]


def render_hostfile(nodes: np.ndarray, hosts: Sequence[str]) -> str:
    """Return the host list for ``srun --distribution=arbitrary``: line i names the node of task i."""
    return "".join(f"{hosts[node]}\n" for node in nodes.tolist())


def parse_hostfile(text: str) -> list[str]:
    """Return the node of every task.

    Raises:
        PlanError: a line is not one name.
    """
    names = []
    for number, line in enumerate(text.splitlines(), 1):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", line.strip()):
            raise _bad_line(HOSTFILE, number, line, "one host name")
        names.append(line.strip())
    return names


def _bad_line(name: str, number: int, line: str, form: str) -> PlanError:
    return PlanError(f"line {number} is {line!r}, not of the form {form}", "its rank would have no node",
                     "write the file again", name)
