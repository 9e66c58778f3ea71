"""Measures the algorithms between the nodes of a job, and writes the rules that choose the fastest and the costs by
which the model chooses where no rule fits.

Every rank runs :func:`tune`; the group is that of all ranks. Times are those of the slowest rank, the median of several
calls, so that all ranks come to the same rules.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from megatron_fugaku import comm, environment
from megatron_fugaku.atomic_file import write_text_atomically
from megatron_fugaku.bench.comm_costs import fit_costs, judge, render_costs
from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.comm.measured import rules_from, times_of
from megatron_fugaku.errors import CommError

SMALLEST_BYTES = 1 << 10
NUM_CALLS = 7


def candidates(collective: str, num_ranks: int, ranks_per_node: int, shapes: tuple[str, ...]) -> list[str]:
    """Return the algorithms to try for a collective."""
    names = ["mpi", "ring", "halving", "swing", *(f"{name}:{shape}" for shape in shapes for name in ("lanes", "swing"))]
    if num_ranks <= 64:
        names.append("pieces")
    if collective == "all_reduce":
        names.append("doubling")
    if 1 < ranks_per_node < num_ranks:
        names += [f"hierarchical:{ranks_per_node}+{name}" for name in ("ring", "halving", "swing")]
    return names


def _call_of(collective: str, num_bytes: int, size: int) -> Callable[[], None]:
    count = max(num_bytes // 4 // size, 1) * size
    vector, block = torch.zeros(count), torch.zeros(count // size)
    return {
        "all_reduce": lambda: dist.all_reduce(vector),
        "reduce_scatter": lambda: dist.reduce_scatter_tensor(block, vector),
        "all_gather": lambda: dist.all_gather_into_tensor(vector, block),
    }[collective]


def _time_s(call: Callable[[], None]) -> float:
    """The median over calls of the slowest rank's seconds; alike on all ranks."""
    times = []
    for _ in range(NUM_CALLS):
        dist.barrier()
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    slowest = torch.tensor(times[1:], dtype=torch.float64)  # the first one finds memory and connections cold
    load_extension().set_algorithms("all=mpi")
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return statistics.median(slowest.tolist())


def _check_shape(shape: str, size: int) -> None:
    try:
        num_ranks = math.prod(int(length.rstrip("l")) for length in shape.split("x"))
        environment.AlgorithmRules(f"all=lanes:{shape}")
    except ValueError:
        num_ranks = 0
    if num_ranks != size:
        raise CommError(f"{shape} is no shape of a torus of {size} ranks", "its lanes would lead nowhere",
                        "write one like 24x12l whose lengths multiply to the number of ranks", "--shape")


def _fit(times_s: dict[tuple[str, int, str], float], size: int, ranks_per_node: int) -> dict[str, float]:
    """The costs, and in words how well the model chooses by them."""
    extension = load_extension()
    terms = {key: extension.cost_terms(*key[:2], size, ranks_per_node, key[2]) for key in times_s}
    costs_s = fit_costs(list(terms.values()), list(times_s.values()), extension.cost_names())
    expected_s = {key: np.dot(row, list(costs_s.values())) for key, row in terms.items()}

    def choose(collective: str, num_bytes: int, candidates: list[str]) -> str:
        return min(candidates, key=lambda name: expected_s[collective, num_bytes, name])

    median, worst = judge(times_s, choose)
    print(f"Costs: {render_costs(costs_s)}.")
    print(f"Without the rules, by these costs alone, algorithms take {median:.2f} times as long as the fastest "
          f"(median), and {worst:.2f} at most.")
    return costs_s


def tune(output: Path, max_bytes: int, shapes: tuple[str, ...] = ()) -> list[str]:
    """Write rules, costs and times to ``output``, on rank 0, and return the rules. Collective over the job.

    Args:
        output: the file.
        max_bytes: of the longest vector; sizes are 1 KiB and four times that, and so on.
        shapes: tori that the ranks are.

    Raises:
        CommError: the ranks share memory, and so have no algorithm to choose; or a shape is not that of the ranks.
    """
    dist.init_process_group("mpi")
    try:
        size, is_first = dist.get_world_size(), dist.get_rank() == 0
        backend = dist.group.WORLD._get_backend(torch.device("cpu"))
        if size < 2 or backend.transport == "shared memory":
            raise CommError(f"{size} rank(s) of one node have no algorithm to choose", "they share memory",
                            "start ranks on several nodes, or set MFUGAKU_COMM_TRANSPORT=mpi", "mfugaku comm tune")
        for shape in shapes:
            _check_shape(shape, size)
        sizes = []
        while (num_bytes := SMALLEST_BYTES << 2 * len(sizes)) <= max_bytes:
            sizes.append(num_bytes)
        times_s = {}
        for collective in ("all_reduce", "reduce_scatter", "all_gather"):
            for num_bytes in sizes:
                for name in candidates(collective, size, backend.ranks_per_node, shapes):
                    call = _call_of(collective, num_bytes, size)
                    dist.barrier()
                    load_extension().set_algorithms(f"{collective}={name}")
                    times_s[collective, num_bytes, name] = _time_s(call)
                if is_first:
                    time_s, name = min((time_s, name) for name, time_s in
                                       times_of(times_s, collective, num_bytes).items())
                    print(f"{collective} {num_bytes:>12,} bytes: {name} {1e6 * time_s:,.0f} us", flush=True)
        rules = rules_from(times_s, size)
        if is_first:
            costs_s = _fit(times_s, size, backend.ranks_per_node)
            table = {"rules": rules, "costs_s": costs_s, "ranks": size, "ranks_per_node": backend.ranks_per_node,
                     "mpi": comm.mpi_library_version(),
                     "times_s": [[*key, time_s] for key, time_s in times_s.items()]}
            write_text_atomically(output, json.dumps(table, indent=1) + "\n")
            print(f"Wrote {output}. Use it with MFUGAKU_COMM_TABLE={output}.")
        dist.barrier()
        load_extension().set_algorithms(environment.get("MFUGAKU_COMM_ALGORITHM"))
        return rules
    finally:
        dist.destroy_process_group()
