"""Rules for algorithms that were measured on this machine: files that ``mfugaku comm tune`` writes.

A file is JSON with the key ``rules``, a list as in ``MFUGAKU_COMM_ALGORITHM``, and what they were made from. Rank 0
reads the one of ``MFUGAKU_COMM_TABLE`` and tells everybody, so that all ranks choose alike whatever they find on their
disks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from megatron_fugaku import environment
from megatron_fugaku.errors import CommError


def load_rules(path: str | Path) -> str:
    """Return the rules of a file, separated by commas.

    Raises:
        CommError: the file cannot be read or holds no rules.
    """
    try:
        rules = json.loads(Path(path).read_text())["rules"]
        return environment.AlgorithmRules(",".join(rules))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommError(f"{path} holds no measured rules for algorithms: {error!r}",
                        "all ranks would choose other algorithms than were meant",
                        "write it with `mpirun ... mfugaku comm tune --output FILE`, or unset the variable",
                        "MFUGAKU_COMM_TABLE") from error


def shared_rules(extension: Any, rank: int) -> str:
    """Return what rank 0 finds in its MFUGAKU_COMM_TABLE, or no rules. Collective over the job.

    Raises:
        CommError: on all ranks, when rank 0 cannot read it.
    """
    text = ""
    if rank == 0 and environment.get("MFUGAKU_COMM_TABLE"):
        try:
            text = "rules " + load_rules(environment.get("MFUGAKU_COMM_TABLE"))
        except CommError as error:
            text = "error " + str(error)
    kind, _, rest = extension.broadcast_text(text, 0).partition(" ")
    if kind == "error":
        raise CommError(f"rank 0 could not read its measured rules: {rest}", "all ranks need the same ones",
                        "see there", "MFUGAKU_COMM_TABLE")
    return rest


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
            candidates = {name: time_s for (c, b, name), time_s in times_s.items() if (c, b) == (collective, num_bytes)}
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
