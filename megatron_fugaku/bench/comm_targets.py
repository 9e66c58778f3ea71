"""How much faster than its peers the MPI backend is to be."""

from __future__ import annotations

KIB, MIB = 1 << 10, 1 << 20
GLOO, STOCK, BEST = "gloo", "stock MPI", "better of gloo and stock MPI"

#: (operation, peer, number of ranks, least bytes, most bytes, least ratio); None stands for any. Where several fit, the
#: highest counts.
TARGETS = (
    ("all_reduce", GLOO, 2, 0, 16 * KIB, 20.0),
    ("all_reduce", GLOO, 2, MIB, 16 * MIB, 10.0),
    ("all_reduce", GLOO, 2, 64 * MIB, 256 * MIB, 5.0),
    ("all_reduce", STOCK, 2, 64 * MIB, 64 * MIB, 5.0),
    ("reduce_scatter", GLOO, 2, 0, 256 * MIB, 20.0),
    ("all_gather", GLOO, 2, 0, 16 * KIB, 20.0),
    ("all_gather", GLOO, 2, 0, 256 * MIB, 10.0),
    (None, BEST, None, 0, 1 << 62, 0.95),
)


def target_of(operation: str, num_bytes: int, num_ranks: int, peer: str) -> float | None:
    """Return the least ratio asked for; None when nothing is."""
    fitting = [ratio for name, against, ranks, least, most, ratio in TARGETS
               if name in (None, operation) and against == peer and ranks in (None, num_ranks)
               and least <= num_bytes <= most]
    return max(fitting, default=None)
