"""The costs by which the model of collectives chooses, fitted to measured times.

The model (``csrc/comm/schedule/cost.h``) is a sum of terms: the call, rounds, messages, bytes and summed bytes of the
busiest rank, and rounds, bytes and summed bytes of MPI's own collectives, times what each costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from megatron_fugaku.comm.measured import times_of

#: Of a byte, at least: bytes are never free, whatever noise says.
LEAST_BYTE_S = 1e-12


def fit_costs(terms: Sequence[Sequence[float]], times_s: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Return the costs, none of them negative, whose sums are nearest to the times in relative terms.

    Args:
        terms: for each time, what the costs are multiplied by.
        times_s: seconds that were measured.
        names: of the costs, in the order of the terms.

    Least squares of ``terms @ costs / times - 1``; while a cost comes out negative, the most negative one is taken to
    be nothing and the others are fitted again.
    """
    rows = np.asarray(terms, dtype=float) / np.asarray(times_s, dtype=float)[:, None]
    # Terms are a few rounds beside millions of bytes.
    scales = np.abs(rows).max(axis=0)
    costs = np.zeros(len(names))
    free = [i for i in range(len(names)) if scales[i] > 0]
    while free:
        solution = np.linalg.lstsq(rows[:, free] / scales[free], np.ones(len(rows)), rcond=None)[0]
        if solution.min() >= 0:
            costs[free] = solution / scales[free]
            break
        free.pop(int(solution.argmin()))
    found = dict(zip(names, costs.tolist(), strict=True))
    return found | {name: max(found[name], LEAST_BYTE_S) for name in ("byte", "mpi_byte")}


def judge(times_s: dict[tuple[str, int, str], float],
          choose: Callable[[str, int, list[str]], str]) -> tuple[float, float]:
    """Return how much longer than the fastest algorithm the chosen ones take: the median and the largest ratio.

    Args:
        times_s: seconds by collective, bytes of the vector and algorithm.
        choose: names one of the algorithms for a collective, bytes and those that were measured.
    """
    ratios = []
    for collective, num_bytes in dict.fromkeys(key[:2] for key in times_s):
        measured = times_of(times_s, collective, num_bytes)
        ratios.append(measured[choose(collective, num_bytes, list(measured))] / min(measured.values()))
    return float(np.median(ratios)), max(ratios)


def render_costs(costs_s: dict[str, float]) -> str:
    """``{"round": 2e-6}`` -> ``round 2e+03 ns``."""
    return ", ".join(f"{name} {1e9 * cost_s:.3g} ns" for name, cost_s in costs_s.items())
