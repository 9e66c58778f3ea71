"""Runs the checks of the modules argv[2:] one after the other on all ranks and reports them: rank 0 writes one JSON
object to argv[1].

A check that fails on any rank ends the job, since the ranks no longer agree on what comes next; those after it stay
unreported.
"""

from __future__ import annotations

import datetime
import importlib
import json
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

import megatron_fugaku.comm as comm


def run_checks(report: Path, modules: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("mpi", timeout=datetime.timedelta(seconds=60))
    passed: dict[str, str | None] = {}
    for check in [check for module in modules for check in importlib.import_module(module).checks_to_run]:
        try:
            check()
            dist.barrier()
        except Exception:
            # Whoever fails first reports; the file is written once.
            failure = traceback.format_exc()
            try:
                with report.open("x") as file:
                    json.dump({**passed, check.__name__: f"rank {dist.get_rank()}: {failure}"}, file)
            except FileExistsError:
                pass
            comm.abort(failure)
        passed[check.__name__] = None
    if dist.get_rank() == 0:
        report.write_text(json.dumps(passed))
    dist.destroy_process_group()


run_checks(Path(sys.argv[1]), sys.argv[2:])
