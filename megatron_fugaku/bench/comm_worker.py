"""One rank of ``mfugaku bench comm``: argv[1] is the plan as JSON, argv[2] the report that rank 0 writes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

import megatron_fugaku.comm as comm
from megatron_fugaku.atomic_file import write_text_atomically
from megatron_fugaku.bench.comm_cases import CASES, Case
from megatron_fugaku.bench.comm_targets import GLOO, STOCK
from megatron_fugaku.comm.extension import load_extension

OURS, STOCK_BACKEND = "mfugaku", "mfugaku_stock"
KINDS = ("", " in the arena")
# One batch of calls is timed as a whole; on a shared machine a short one has the better chance to be undisturbed.
BATCH_S, MAX_BATCH = 0.003, 200


def slowest(value: float) -> float:
    """The largest of the ranks' values."""
    tensor = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return tensor.item()


def time_batch(call: Callable[[], object], num_calls: int) -> float:
    """Seconds per call on the slowest rank."""
    dist.barrier()
    start_s = time.perf_counter()
    for _ in range(num_calls):
        call()
    return slowest((time.perf_counter() - start_s) / num_calls)


def measure_case(cases: dict[str, Case], groups: dict[str, dist.ProcessGroup], num_rounds: int) -> dict[str, float]:
    """Seconds per call of each peer, and of ours per kind of memory: the least of the rounds, taken in turn."""
    calls, sizes = {}, {}
    for kind, case in cases.items():
        for name, group in groups.items():
            if name == OURS or not kind:
                case.check(group)
        case.prepare()
        for name, group in groups.items():
            if name == OURS or not kind:
                calls[name + kind] = case.call_of(group)
                sizes[name + kind] = max(1, min(MAX_BATCH, round(BATCH_S / time_batch(calls[name + kind], 2))))
    names = list(calls)
    best = dict.fromkeys(names, float("inf"))
    for number in range(num_rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            best[name] = min(best[name], time_batch(calls[name], sizes[name]))
    return best


def create_groups() -> dict[str, dist.ProcessGroup]:
    """One group over all ranks for every peer."""
    dist.Backend.register_backend(
        STOCK_BACKEND, lambda options, _=None: load_extension().StockBackend(options.group_rank, options.group_size),
        extended_api=True, devices=["cpu"])
    return {OURS: dist.group.WORLD, GLOO: dist.new_group(backend="gloo"), STOCK: dist.new_group(backend=STOCK_BACKEND)}


def main(plan: dict, report: Path) -> None:
    """Measure all cases of the plan."""
    torch.set_num_threads(1)
    dist.init_process_group("mpi")
    groups = create_groups()
    timings = []
    for operation in plan["operations"]:
        for data_type in plan["data_types"]:
            dtype = getattr(torch, data_type)
            for num_bytes in plan["sizes"] if CASES[operation].uses_size else [0]:
                # MPI's own reductions know no 16-bit floats.
                skips_stock = dtype.itemsize == 2 and CASES[operation].reduces
                peers = {name: group for name, group in groups.items() if not (skips_stock and name == STOCK)}
                kinds = KINDS if CASES[operation].uses_size else KINDS[:1]
                cases = {kind: CASES[operation](dtype, num_bytes, bool(kind)) for kind in kinds}
                seconds = measure_case(cases, peers, plan["num_rounds"])
                timings.append({"operation": operation, "data_type": data_type, "num_bytes": num_bytes,
                                "seconds": seconds})
    if dist.get_rank() == 0:
        facts = comm.build_info()
        found = {"timings": timings, "mpi": f"{facts['mpi_vendor']} {facts['mpi_version']}",
                 "transport": comm.transport_of(dist.group.WORLD)}
        write_text_atomically(report, json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
