"""Runs named checks one after the other on all ranks and reports them: rank 0 writes one JSON object to argv[1].

A check that fails on any rank ends the job, since the ranks no longer agree on what comes next; those after it stay
unreported.
"""

from __future__ import annotations

import datetime
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

import megatron_fugaku.comm as comm

Check = Callable[[], None]


def fill(rank: int, shape, dtype: torch.dtype, salt: int = 0) -> torch.Tensor:
    """The tensor that `rank` contributes: any rank can compute that of any other."""
    generator = torch.Generator().manual_seed(1000 * rank + salt)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    if dtype.is_complex:
        return torch.randn(shape, generator=generator, dtype=torch.complex128).to(dtype)
    return torch.randint(0, 5, shape, generator=generator).to(dtype)


def run_checks(checks: dict[str, Check]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("mpi", timeout=datetime.timedelta(seconds=60))
    report = Path(sys.argv[1])
    passed: dict[str, str | None] = {}
    for name, check in checks.items():
        try:
            check()
            dist.barrier()
        except Exception:
            # Whoever fails first reports; the file is written once.
            failure = traceback.format_exc()
            try:
                with report.open("x") as file:
                    json.dump({**passed, name: f"rank {dist.get_rank()}: {failure}"}, file)
            except FileExistsError:
                pass
            comm.abort(failure)
        passed[name] = None
    if dist.get_rank() == 0:
        report.write_text(json.dumps(passed))
    dist.destroy_process_group()
