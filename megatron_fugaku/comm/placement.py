"""Where a job's ranks stand on a torus, from the ``placement.json`` that the launcher writes beside its rank map.

Groups of ranks that are the tensor- or data-parallel groups of that map take the lanes that stand there for them, for
vectors long enough to be worth it (``csrc/comm/schedule/choice.h``). Which groups those are, their members tell: ranks
are numbered as Megatron does it, tensor-parallel neighbours first, then data-parallel, then pipeline stages.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_fugaku.errors import CommError

VARIABLE = "MFUGAKU_COMM_PLACEMENT"
VERSION = 1


@dataclass(frozen=True)
class GroupLanes:
    """The lanes of the groups of one parallel dimension.

    Attributes:
        shape: their torus, as ``3x2``; ``l`` marks a line.
        places: of each member in the order of the dimension, numbered with the first axis fastest.
        lanes: for each (order of axes, directions, share of the vector).
    """

    shape: str
    places: tuple[int, ...]
    lanes: tuple[tuple[tuple[int, ...], tuple[int, ...], float], ...]

    @property
    def is_one_rank_per_place(self) -> bool:
        """Lanes go from node to node: members that share one have no lanes of their own yet."""
        return len(set(self.places)) == len(self.places)


@dataclass(frozen=True)
class Placement:
    """What a placement file says: ranks of each dimension, and the lanes of those that have some."""

    path: Path
    sizes: dict[str, int]
    groups: dict[str, GroupLanes]

    @property
    def num_ranks(self) -> int:
        """Ranks of the job."""
        return self.sizes["tp"] * self.sizes["dp"] * self.sizes["pp"]

    def find_group(self, ranks: Sequence[int]) -> tuple[str, GroupLanes] | None:
        """Return the dimension whose group these ranks of the job are, with its lanes in their order; None if of none.
        """
        strides = {"tp": 1, "dp": self.sizes["tp"]}
        for name, lanes in self.groups.items():
            stride, size = strides[name], self.sizes[name]
            indices = [rank // stride % size for rank in ranks]
            firsts = {rank - index * stride for rank, index in zip(ranks, indices, strict=True)}
            if len(firsts) == 1 and sorted(indices) == list(range(size)):
                return name, GroupLanes(lanes.shape, tuple(lanes.places[index] for index in indices), lanes.lanes)
        return None

    def check_layout(self, tp: int, dp: int, pp: int) -> None:
        """Check that the run is cut as the map was made for.

        Raises:
            CommError: it is not.
        """
        wanted = {"tp": tp, "dp": dp, "pp": pp}
        if wanted != self.sizes:
            raise CommError(f"{self.path} places {_explain(self.sizes)}, but the run has {_explain(wanted)}",
                            "its groups would not be where the map has laid them",
                            "render the job again with mfugaku launch, or unset the variable", VARIABLE)


def _explain(sizes: dict[str, int]) -> str:
    return f"tensor {sizes['tp']} x data {sizes['dp']} x pipeline {sizes['pp']} ranks"


def read_placement(path: Path) -> Placement:
    """Return what a placement file says.

    Raises:
        CommError: it cannot be read, is of another version, or no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise CommError(f"{path} has version {content['version']}, and this is for version {VERSION}",
                            "lanes could be taken for what they are not",
                            "render the job again with the mfugaku that runs it", VARIABLE)
        dimensions = content["dimensions"]
        sizes = {name: int(dimensions[name]["size"]) for name in ("tp", "dp", "pp")}
        groups = {name: _read_group(dimensions[name]) for name in ("tp", "dp")
                  if sizes[name] > 1 and dimensions[name]["torus"]}
        if any(len(groups[name].places) != sizes[name] for name in groups):
            raise ValueError("torus_ranks are not as many as the ranks of their dimension")
        return Placement(path, sizes, groups)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CommError(f"{path} is no placement that can be read: {type(error).__name__} {error}",
                        "collectives would not know their lanes",
                        "render the job again with mfugaku launch, or unset the variable", VARIABLE) from error


def _read_group(content: dict[str, Any]) -> GroupLanes:
    lanes = tuple((tuple(map(int, lane["order"])), tuple(map(int, lane["directions"])), float(lane["weight"]))
                  for lane in content["lanes"])
    return GroupLanes(str(content["torus"]), tuple(map(int, content["torus_ranks"])), lanes)


class PlacedJob:
    """The placement of this job, and the nodes on which its ranks turned out to be.

    Args:
        placement: what the file says.
        hosts: a number of each rank's node, alike for ranks of one node; None: not to be compared with the map,
            because the ranks of a node are to be treated as if they were apart.

    Raises:
        CommError: the job has another number of ranks.
    """

    def __init__(self, placement: Placement, num_ranks: int, hosts: Sequence[int] | None):
        if placement.num_ranks != num_ranks:
            raise CommError(f"{placement.path} places {_explain(placement.sizes)} = {placement.num_ranks}, but this "
                            f"job has {num_ranks}", "its lanes would lead to ranks that are not there",
                            "start as many ranks, render the job again, or unset the variable", VARIABLE)
        self.placement, self.hosts = placement, hosts

    def give_lanes(self, backend: Any, ranks: Sequence[int], rank: int) -> None:
        """Give a group its lanes, where the map has some; where it cannot, the first member says why, once.

        Args:
            backend: of the group.
            ranks: its members as ranks of the job.
            rank: of this process in the group.

        Raises:
            CommError: the lanes do not go through their torus.
        """
        found = self.placement.find_group(ranks)
        if found is None:
            return
        name, lanes = found
        reason = self._why_not(lanes, ranks)
        if reason:
            if rank == 0:
                _say_once(f"mfugaku: {self.placement.path} has no lanes for the {name} group of rank {ranks[0]}: "
                          f"{reason}. Its collectives go by the usual rules, see mfugaku comm table. [{VARIABLE}]")
            return
        try:
            backend.set_lanes(lanes.shape, list(lanes.places), [tuple(map(list, lane[:2])) + lane[2:]
                                                                for lane in lanes.lanes])
        except (RuntimeError, ValueError) as error:
            raise CommError(f"{self.placement.path} has wrong lanes for {name}: {str(error).partition(chr(10))[0]}",
                            "collectives cannot follow them", "render the job again with mfugaku launch",
                            VARIABLE) from error

    def _why_not(self, lanes: GroupLanes, ranks: Sequence[int]) -> str:
        if not lanes.is_one_rank_per_place:
            return "several of its ranks share a node"
        if self.hosts is None:
            return ""
        first: dict[int, int] = {}
        for rank in ranks:
            other = first.setdefault(self.hosts[rank], rank)
            if other != rank:
                return f"ranks {other} and {rank} run on one node, which the map has on two"
        return ""


@functools.cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
