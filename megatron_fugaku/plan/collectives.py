"""What the algorithms for collectives send: who to whom, how much, how often; patterns over the members of a group.

A pattern is a tuple of stages; a stage is a set of messages that travel at once, repeated a number of times. Bytes are
in shares of the vector. The same pattern serves for all groups of a dimension; plan/link_load.py lays it on a torus.

`trinary` and `fujitsu_rules` model Fujitsu MPI from outside, always in its favour. Sources: MPI User's Guide
j2ul-2565, p. 171 (the trinary all-reduce calls reduce and broadcast one after the other) and 8.3.4 (cuboid
communicators); the rule file `fjmpi-dectree.conf` that the authors of Bine (arXiv:2508.17311) published: ring for up to
32 processes if the vector has 8 KB for each, trinaryx3 up to 15,360 processes on cuboids, ring elsewhere. Not verified
on the machine.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from megatron_fugaku.plan.lanes import LanePlan

RING, DOUBLING, TRINARY = "ring", "doubling", "trinary"
RING_LIMIT, RING_LEAST_BYTES, TRINARY_LIMIT = 32, 8 << 10, 15360


@dataclass(frozen=True, eq=False)
class Stage:
    """Messages that travel at once.

    Attributes:
        source, target: members, int64 of shape (messages,).
        share: of the vector that each message has, float64 of shape (messages,) or one number.
        repeats: how often, one after the other.
        depth: messages that must follow each other within one repetition; more than one where they are pipelined.
    """

    source: np.ndarray
    target: np.ndarray
    share: np.ndarray | float
    repeats: int = 1
    depth: int = 1


Pattern = tuple[Stage, ...]


def ring(num_members: int) -> Pattern:
    """All-reduce on one ring in the order of the members: reduce-scatter, then all-gather."""
    if num_members == 1:
        return ()
    members = np.arange(num_members)
    return (Stage(members, (members + 1) % num_members, 1 / num_members, 2 * (num_members - 1)),)


def recursive_doubling(num_members: int) -> Pattern:
    """All-reduce by exchanging the whole vector at doubling distances; members beyond a power of two fold in first."""
    if num_members == 1:
        return ()
    power = 1 << (num_members.bit_length() - 1)
    extra = np.arange(num_members - power)
    stages = [Stage(power + extra, extra, 1.0)] if extra.size else []
    members = np.arange(power)
    stages += [Stage(members, members ^ (1 << bit), 1.0) for bit in range(power.bit_length() - 1)]
    if extra.size:
        stages.append(Stage(extra, power + extra, 1.0))
    return tuple(stages)


def find_grid(coordinates: np.ndarray) -> np.ndarray | None:
    """Return the members of a group as a grid, or None if their coordinates are not a product of one set per axis.

    Args:
        coordinates: of the members, int64 of shape (members, axes).

    Returns:
        int64 with one axis per axis of more than one value; entries are members.
    """
    values, places = zip(*(np.unique(column, return_inverse=True) for column in coordinates.T), strict=True)
    shape = tuple(len(found) for found in values)
    if int(np.prod(shape, dtype=np.int64)) != len(coordinates):
        return None
    grid = np.full(shape, -1, np.int64)
    grid[tuple(places)] = np.arange(len(coordinates))
    return None if (grid < 0).any() else grid.squeeze()


def bucket(grid: np.ndarray) -> list[Pattern]:
    """All-reduce by rings along one axis of a grid after the other; one pattern per order of the axes."""
    patterns = []
    for order in itertools.permutations(range(grid.ndim)):
        stages, left = [], 1.0
        for axis in order:
            size = grid.shape[axis]
            target = np.roll(grid, -1, axis)
            left /= size
            stages.append(Stage(grid.ravel(), target.ravel(), left, 2 * (size - 1)))
        patterns.append(tuple(stages))
    return patterns


def trinary(grid: np.ndarray) -> Pattern:
    """All-reduce by a reduction and a broadcast over up to three trees that share no link within the group.

    Each tree carries its part of the vector once over the edges of its axis and direction; the few edges by which it
    reaches them are left out, and so are the segments' own costs.
    """
    num_trees = min(3, 2 * grid.ndim)
    trees = [(axis, direction) for direction in (1, -1) for axis in range(grid.ndim)][:num_trees]
    depth = sum(size - 1 for size in grid.shape)
    source, target = [], []
    for axis, direction in trees:
        lines = np.moveaxis(grid, axis, 0)[::direction]
        source.append(lines[:-1].ravel())
        target.append(lines[1:].ravel())
    source, target = np.concatenate(source), np.concatenate(target)
    return (Stage(target, source, 1 / num_trees, 1, depth), Stage(source, target, 1 / num_trees, 1, depth))


def fujitsu_rules(num_members: int, num_bytes: float, is_grid: bool) -> tuple[str, ...]:
    """Return what the rule file chooses: "ring" or "trinary"; with small vectors also "doubling", if that is faster."""
    chosen = TRINARY if RING_LIMIT < num_members <= TRINARY_LIMIT and is_grid else RING
    return (chosen, DOUBLING) if num_bytes < RING_LEAST_BYTES * num_members else (chosen,)


def lanes(plan: LanePlan, positions: np.ndarray) -> Pattern:
    """All-reduce over weighted lanes, all of whose messages are in flight at some time: one stage.

    Args:
        plan: the lanes of the group.
        positions: place of each member along every dimension of the plan, int64 of shape (members, dimensions).
    """
    if not plan.lanes:
        return ()
    sizes = tuple(dimension.size for dimension in plan.dimensions)
    member = np.empty(sizes, np.int64)
    member[tuple(positions.T)] = np.arange(len(positions))
    source, target, share = [], [], []
    for lane in plan.lanes:
        left = lane.weight
        for index, direction in zip(lane.order, lane.directions, strict=True):
            size = sizes[index]
            source.append(member.ravel())
            target.append(np.roll(member, -direction, index).ravel())
            share.append(np.full(member.size, 2 * left * (size - 1) / size))
            left /= size
    return (Stage(np.concatenate(source), np.concatenate(target), np.concatenate(share)),)
