"""Fugaku's interconnect Tofu-D: its figures, its six axes, and how the three axes of a job are folded into them.

A node has coordinates X Y Z A B C: units of 2 x 3 x 2 nodes (A, B, C) stand in a torus of units (X, Y, Z). A job sees
one to three axes; a job of shape 48x6x48 has (X.A), (Y.B) and (Z.C), each walked so that logical neighbours are
physical ones, the last and the first too.

Sources. Ajima et al., "The Tofu Interconnect D", IEEE Cluster 2018: ten ports of 6.8 GB/s (X, Y, Z two each, A 1, B 2,
C 1), six network interfaces, 38.1 GB/s measured injection, 0.49 us for a put of 8 bytes. RIKEN and Fujitsu, "MPI User's
Guide", section 6.1: axes, extended dimension-ordered routing (B C A, X Y Z, A C B, of which the first three choose one
of 12 paths; here the message stays where it is and goes X Y Z A C B, which is our reading of the default).
The folds of (X.A) and (Z.C) - out with A = 0, back with A = 1 - and that ranks run along X first are what the
coordinates printed by real jobs of 2,048 nodes show (zhuangbility111/Fugaku_mpi_process_mapping_tool, folder data).
Those jobs had 8 or 16 nodes on (Y.B), which skip some nodes of their units; the fold of whole units is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan.torus import Axis, Torus

LINK_BYTES_PER_S = 6.8e9
NUM_INTERFACES = 6
#: Of 40.8 GB/s that six interfaces have.
INJECTION_BYTES_PER_S = 38.1e9
#: What a stream of puts reaches of a link.
LINK_EFFICIENCY = 0.93
PUT_S = 0.49e-6
#: Each further router on the way.
HOP_S = 0.1e-6

OUTER, INNER = ("X", "Y", "Z"), ("A", "B", "C")
UNIT = (2, 3, 2)
#: Fugaku: units along X, Y and Z. An axis is closed for a job only if the job has all of it.
MACHINE = (24, 23, 24)
_ROUTING = ("X", "Y", "Z", "A", "C", "B")


def fold_axis(num_units: int, unit: int) -> np.ndarray:
    """Return the closed walk of a logical axis: int64 of shape (units x unit, 2), (outer, inner) of each place.

    Args:
        num_units: nodes on the outer axis, which need not be closed.
        unit: nodes on the inner axis: 2, or 3 on a ring.
    """
    walk = [(outer, 0) for outer in range(num_units)]
    for outer in reversed(range(num_units)):
        if unit == 2:
            walk.append((outer, 1))
        else:
            # Columns 2 and 1 are both neighbours of column 0, so the way back may end on either.
            back = (2, 1) if (num_units - 1 - outer) % 2 == 0 else (1, 2)
            walk += [(outer, inner) for inner in back]
    return np.array(walk, np.int64)


@dataclass(frozen=True)
class TofuTorus(Torus):
    """Whole units of Tofu-D, with the axes X Y Z A B C.

    Attributes:
        job: the three sizes of the job.
    """

    job: tuple[int, int, int] = (0, 0, 0)

    @property
    def logical_sizes(self) -> tuple[int, ...]:
        """The shape of the job."""
        return self.job

    @cached_property
    def _folds(self) -> tuple[np.ndarray, ...]:
        return tuple(fold_axis(size // unit, unit) for size, unit in zip(self.job, UNIT, strict=True))

    @cached_property
    def _unfolds(self) -> tuple[np.ndarray, ...]:
        tables = []
        for fold, size, unit in zip(self._folds, self.job, UNIT, strict=True):
            table = np.empty((size // unit, unit), np.int64)
            table[fold[:, 0], fold[:, 1]] = np.arange(size)
            tables.append(table)
        return tuple(tables)

    def to_physical(self, coordinates: np.ndarray) -> np.ndarray:
        """Turn (x, y, z) of the job into X Y Z A B C: int64 of shape (n, 3) into (n, 6)."""
        pairs = [fold[coordinates[:, axis]] for axis, fold in enumerate(self._folds)]
        return np.stack([pair[:, 0] for pair in pairs] + [pair[:, 1] for pair in pairs], axis=1)

    def to_logical(self, coordinates: np.ndarray) -> np.ndarray:
        """Turn X Y Z A B C into (x, y, z) of the job: int64 of shape (n, 6) into (n, 3)."""
        return np.stack([table[coordinates[:, axis], coordinates[:, axis + 3]]
                         for axis, table in enumerate(self._unfolds)], axis=1)

    def describe(self) -> str:
        """Return for example ``48x6x48 on Tofu-D: X24 Y2 Z24 A2 B3 C2 (Y open)``."""
        axes = " ".join(f"{axis.name}{axis.size}" for axis in self.axes)
        ends = [axis.name for axis in self.axes if axis.size > 2 and not axis.is_ring]
        open_axes = f" ({', '.join(ends)} open)" if ends else ""
        return f"{'x'.join(map(str, self.job))} on Tofu-D: {axes}{open_axes}"


def is_whole_units(job: tuple[int, ...]) -> bool:
    """Whether a job's shape is made of whole units of 2 x 3 x 2 nodes that the machine has."""
    return len(job) == 3 and all(size % unit == 0 and size // unit <= most
                                 for size, unit, most in zip(job, UNIT, MACHINE, strict=True))


def build_tofu(job: tuple[int, ...]) -> TofuTorus:
    """Return the network of a job.

    Raises:
        PlanError: the shape is not made of whole units, or the machine is smaller.
    """
    if not is_whole_units(job):
        raise PlanError(f"the shape {'x'.join(map(str, job))} is not made of whole Tofu units of 2x3x2 nodes, at most "
                        f"{'x'.join(map(str, MACHINE))} of them", "its axes cannot be folded into X, Y, Z, A, B and C",
                        "choose multiples of 2, 3 and 2, or append :plain for a torus of its own", "--torus")
    outer = [Axis(name, size // unit, size // unit == most)
             for name, size, unit, most in zip(OUTER, job, UNIT, MACHINE, strict=True)]
    inner = [Axis(name, unit) for name, unit in zip(INNER, UNIT, strict=True)]
    names = [axis.name for axis in outer + inner]
    return TofuTorus(tuple(outer + inner), tuple(names.index(name) for name in _ROUTING), LINK_BYTES_PER_S,
                     NUM_INTERFACES, tuple(job))
