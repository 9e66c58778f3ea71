"""What was measured of algorithms on this machine: files that ``mfugaku comm tune`` writes.

A file is JSON with the key ``rules``, a list as in ``MFUGAKU_COMM_ALGORITHM``, ``costs_s``, the seconds by which the
model chooses where no rule fits, and what both were made from. Rank 0 reads the one of ``MFUGAKU_COMM_TABLE`` and tells
everybody, so that all ranks choose alike whatever they find on their disks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from megatron_fugaku import environment
from megatron_fugaku.errors import CommError


class Measured(NamedTuple):
    """What a file says of algorithms.

    Attributes:
        rules: separated by commas.
        costs: seconds, in the order of the extension's ``cost_names``; none: the built-in ones.
    """

    rules: str = ""
    costs: tuple[float, ...] = ()

    def apply(self, extension: Any) -> None:
        """Let this process choose by it, behind the rules of MFUGAKU_COMM_ALGORITHM."""
        extension.set_algorithms(environment.get("MFUGAKU_COMM_ALGORITHM"), self.rules)
        if self.costs:
            extension.set_costs(self.costs)


def load_measured(path: str | Path, cost_names: list[str]) -> Measured:
    """Return what a file says.

    Args:
        path: of the file.
        cost_names: those that it must have, if it has costs.

    Raises:
        CommError: the file cannot be read, holds no rules, or costs that are none.
    """
    try:
        table = json.loads(Path(path).read_text())
        rules = environment.AlgorithmRules(",".join(table["rules"]))
        costs_s = table.get("costs_s", {})
        if costs_s and (sorted(costs_s) != sorted(cost_names) or not all(0 <= cost < 1 for cost in costs_s.values())):
            raise ValueError(f"its costs are {costs_s}")
        return Measured(rules, tuple(float(costs_s[name]) for name in cost_names) if costs_s else ())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommError(f"{path} holds no measured rules for algorithms: {error!r}",
                        "all ranks would choose other algorithms than were meant",
                        "write it with `mpirun ... mfugaku comm tune --output FILE`, or unset the variable",
                        "MFUGAKU_COMM_TABLE") from error


def shared_measured(extension: Any, rank: int) -> Measured:
    """Return what rank 0 finds in its MFUGAKU_COMM_TABLE, or nothing. Collective over the job.

    Raises:
        CommError: on all ranks, when rank 0 cannot read it.
    """
    found: dict[str, Any] = {}
    if rank == 0 and environment.get("MFUGAKU_COMM_TABLE"):
        try:
            found = load_measured(environment.get("MFUGAKU_COMM_TABLE"), extension.cost_names())._asdict()
        except CommError as error:
            found = {"error": str(error)}
    found = json.loads(extension.broadcast_text(json.dumps(found) if rank == 0 else "", 0))
    if "error" in found:
        raise CommError(f"rank 0 could not read its measured rules: {found['error']}", "all ranks need the same ones",
                        "see there", "MFUGAKU_COMM_TABLE")
    return Measured(found.get("rules", ""), tuple(found.get("costs", ())))


def times_of(times_s: dict[tuple[str, int, str], float], collective: str, num_bytes: int) -> dict[str, float]:
    """Return the seconds by algorithm of one collective and size, of ``times_s`` as :func:`rules_from` takes them."""
    return {name: time_s for (c, b, name), time_s in times_s.items() if (c, b) == (collective, num_bytes)}


def rules_from(times_s: dict[tuple[str, int, str], float], num_ranks: int) -> list[str]:
    """Return the rules that choose the fastest algorithm for each collective and size.

    Args:
        times_s: seconds by collective, bytes of the vector and algorithm.
        num_ranks: of the group that was measured.

    A rule begins at the geometric mean of two sizes between which another algorithm becomes the fastest; the smallest
    size's holds from the first byte.
    """
    rules = []
    for collective in dict.fromkeys(key[0] for key in times_s):
        sizes = sorted({num_bytes for name, num_bytes, _ in times_s if name == collective})
        previous, before, found = "", 0, []
        for num_bytes in sizes:
            candidates = times_of(times_s, collective, num_bytes)
            best = min(candidates, key=lambda name: (candidates[name], name))
            # Not for a difference that the next run would undo.
            if previous in candidates and candidates[previous] <= 1.05 * candidates[best]:
                best = previous
            if best != previous:
                begin = round((before * num_bytes) ** 0.5)
                found.append(f"{collective}@{num_ranks}" + (f":{begin}" if begin else "") + f"={best}")
            previous, before = best, num_bytes
        rules += reversed(found)
    return rules
