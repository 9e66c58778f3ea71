"""A rank that runs cases of torch's own suite for distributed backends, one after the other, as its peers do.

    mpirun -n 4 python torch_suite.py FOLDER MASK

cases.json in FOLDER lists their names; without it they are all, and rank 0 writes it. FOLDER receives, from every
rank, a file of one JSON object a line: the case, how it ended ("started", "passed", "skipped", "failed"), torch's
reason or the traceback, and the seconds it took. MASK is the backend that the suite is told; several of its cases ask
that name whether they are to run. What they run on is ``init_process_group("mpi")`` either way, made anew for every
case.

After a case that failed on any rank all of them end: who is where in which collective is no longer known. The caller
starts the next job with what is left.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
import traceback
import unittest
from pathlib import Path

import torch
import torch.distributed as dist
from torch.testing._internal import common_distributed

import megatron_fugaku.comm as comm
from megatron_fugaku.comm.extension import load_extension

GROUP_TIMEOUT = datetime.timedelta(seconds=60)  # torch's
BARRIER_TIMEOUT_S = 60  # of files in the suite's folder; torch's own 10 s are for a machine that does nothing else
_EXIT_REASONS = {skip.exit_code: skip.message for skip in common_distributed.TEST_SKIPS.values()}


def declare_features(mask: str) -> None:
    """Tell the suite what this backend has and torch's own of that name has not: it asks these tables."""
    features = common_distributed.DistTestCases
    features.backend_feature["ddp"].add(mask)
    features.backend_feature["subgroup"].add(mask)
    for without in features.skip_collective.values():
        without.discard(mask)


def build_cases(mask: str) -> type[unittest.TestCase]:
    """Import the suite, which reads its environment then, and return its cases as a class for ranks that exist."""
    os.environ.update(BACKEND=mask, WORLD_SIZE=str(comm.rank_info().world_size), INIT_METHOD="file:///of/each/case")
    declare_features(mask)
    from torch.testing._internal.common_utils import TestCase
    from torch.testing._internal.distributed import distributed_test as suite

    # By now it is settled which cases are to run. What they ask for while they do is our backend.
    suite.BACKEND = os.environ["BACKEND"] = "mpi"

    class Cases(TestCase, suite.DistributedTest._DistTestBase):
        """torch's cases, with what its own class for spawned processes would give them."""

        world_size = os.environ["WORLD_SIZE"]

        def setUp(self) -> None:
            super().setUp()
            folder = Path(os.environ["TEMP_DIR"])
            suite.INIT_METHOD = f"file://{folder}/init"
            suite.Barrier.barrier_id = 0
            self.rank = dist.get_rank()

        @property
        def init_method(self) -> str:
            return suite.INIT_METHOD

        def _barrier(self, *args, **kwargs) -> None:
            suite.Barrier.sync(*args, **{"timeout": BARRIER_TIMEOUT_S, **kwargs})

        def _callTestMethod(self, method) -> None:
            try:
                method()
            except SystemExit as end:  # how torch's decorators skip in a process that it spawned for the case
                if end.code not in _EXIT_REASONS:
                    raise RuntimeError(f"the case ended its process with status {end.code}") from end
                raise unittest.SkipTest(_EXIT_REASONS[end.code]) from None

    return Cases


def run_case(case: unittest.TestCase) -> tuple[str, str]:
    """Run one case; return how it ended and why."""
    result = unittest.TestResult()
    case.run(result)
    troubles = [text for _, text in (*result.errors, *result.failures)]
    troubles += ["the suite expects it to fail, but it passed"] * len(result.unexpectedSuccesses)
    if troubles:
        return "failed", "\n".join(troubles)
    if result.skipped:
        return "skipped", result.skipped[0][1]
    return "passed", ""


def list_cases(folder: Path, cases: type[unittest.TestCase], rank: int) -> list[str]:
    """Return the names of the cases to run, which are the same on all ranks."""
    wanted = folder / "cases.json"
    if wanted.exists():
        return json.loads(wanted.read_text())
    names = sorted(name for name in dir(cases) if name.startswith("test_"))
    if rank == 0:
        new = wanted.with_suffix(".new")
        new.write_text(json.dumps(names))
        new.replace(wanted)
    return names


def run_cases(folder: Path, mask: str) -> None:
    cases = build_cases(mask)
    torch.set_num_threads(1)
    rank = comm.rank_info().rank
    names = list_cases(folder, cases, rank)
    # One store for all cases: torch's TCPStore asks the name server about each of its clients, which may take seconds.
    dist.init_process_group("mpi")
    store = dist.distributed_c10d._get_default_store()
    dist.destroy_process_group()
    with (folder / f"rank_{rank}.jsonl").open("w", buffering=1) as report:
        for name in names:
            tell(report, name, "started")
            method = getattr(cases, name)
            if getattr(method, "__unittest_skip__", False):
                tell(report, name, "skipped", method.__unittest_skip_why__)
            elif not run_with_all(folder / name, cases(name), dist.PrefixStore(name, store), report):
                comm.abort(f"{name} failed on a rank")


def tell(report, name: str, how: str, why: str = "", seconds: float = 0.0) -> None:
    report.write(json.dumps({"case": name, "how": how, "why": why, "seconds": round(seconds, 3)}) + "\n")


def run_with_all(folder: Path, case: unittest.TestCase, store: dist.Store, report) -> bool:
    """Run one case on a default group of its own; return whether it failed on no rank."""
    for name in ("barrier", "test_dir"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    before = dict(os.environ)
    try:
        os.environ["TEMP_DIR"] = str(folder)
        info = comm.rank_info()
        dist.init_process_group("mpi", store=store, rank=info.rank, world_size=info.world_size, timeout=GROUP_TIMEOUT)
        load_extension().all_gather_int(0)
        how, why = run_case(case)
    except BaseException:
        how, why = "failed", traceback.format_exc()
    tell(report, case._testMethodName, how, why, time.monotonic() - began)
    try:
        if 1 in load_extension().all_gather_int(int(how == "failed")):
            return False
        if dist.is_initialized():
            dist.destroy_process_group()
    except BaseException:
        tell(report, case._testMethodName, "failed", f"after the case: {traceback.format_exc()}")
        return False
    finally:
        os.environ.clear()
        os.environ.update(before)
    return True


if __name__ == "__main__":
    run_cases(Path(sys.argv[1]), sys.argv[2])
