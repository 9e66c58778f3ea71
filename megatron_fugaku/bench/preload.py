"""``mfugaku bench preload``: a program in C with and without the preload library, which it does not know of.

The program is compiled once and started with and without the library in turn. Of each case the least time of all
starts counts, which on a machine that does other work too is what repeats best.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from megatron_fugaku.bench.comm_targets import STOCK
from megatron_fugaku.bench.records import Record, render_columns, render_size
from megatron_fugaku.c_library import PRELOAD, find_library
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.launch.local import plan_local, run_plan

SOURCE = Path(__file__).with_name("preload.c")
SIZES = tuple(1 << power for power in (10, 14, 16, 18, 20, 22, 24, 26))
#: The preload must not make a program slower, whatever the size.
TARGET = 0.95
#: (MPI function, bytes of the whole vector) to seconds per call.
Times = Mapping[tuple[str, int], float]


def measure(num_ranks: int = 2, sizes: Iterable[int] = SIZES, num_rounds: int = 5, num_starts: int = 3) -> list[Record]:
    """Return a record per collective and size, ours against MPI's own, after one with the machine's load.

    Args:
        num_ranks: ranks of one thread to start.
        sizes: bytes of the whole vector, of float32.
        num_rounds: batches of calls per case and start.
        num_starts: of the program, with the library and without.

    Raises:
        EnvironmentError: there is no mpirun, no C compiler with MPI, or the library was not built.
        LaunchError: a rank failed, for example because a result was wrong.
    """
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        program = compile_program(SOURCE, Path(folder, "preload"))
        with_ours = ["env", f"LD_PRELOAD={find_library(PRELOAD, program)}"]
        words = [str(num_rounds), *map(str, sizes)]
        ours: dict[tuple[str, int], float] = {}
        stock: dict[tuple[str, int], float] = {}
        for _ in range(num_starts):
            for before, best in ((with_ours, ours), ([], stock)):
                report = Path(folder, "report")
                plan = plan_local([*before, str(program), str(report), *words], num_ranks, threads_per_rank=1)
                run_plan(plan, resume_hint="read what it printed above")
                for case, seconds in _read(report).items():
                    best[case] = min(seconds, best.get(case, seconds))
    conditions = f"{num_ranks} ranks of one thread; {plan.explain()}"
    return [Record("preload", conditions, "load_average", max(load_before, os.getloadavg()[0]), "processes"),
            *_compare(ours, stock, num_ranks)]


def compile_program(source: Path, program: Path) -> Path:
    """Compile a C source with the MPI that starts ranks here.

    Raises:
        EnvironmentError: there is no compiler, or it refuses.
    """
    from megatron_fugaku.launch.mpi import find_mpirun

    beside = Path(find_mpirun().path).parent
    compiler = shutil.which("mpicc", path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    done = compiler and subprocess.run([compiler, "-O2", "-o", str(program), str(source)], capture_output=True,
                                       text=True, check=False)
    if not done or done.returncode:
        lines = done.stderr.strip().splitlines() if done else ["there is no mpicc"]
        said = next((line for line in lines if "error" in line), lines[-1] if lines else "the compiler says nothing")
        raise EnvironmentError(f"{source.name} cannot be compiled: {said}", "the benchmark is a program in C",
                               "install a C compiler for the MPI (Debian: apt install libopenmpi-dev)", "mpicc")
    return program


def _read(report: Path) -> Times:
    try:
        lines = report.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise EnvironmentError(f"the ranks left no report: {error.strerror}", "there is nothing to compare",
                               "start it again", "mfugaku bench preload") from error
    return {(name, int(num_bytes)): float(seconds) for name, num_bytes, seconds in map(str.split, lines)}


def _compare(ours: Times, stock: Times, num_ranks: int) -> Iterable[Record]:
    for (name, num_bytes), seconds in ours.items():
        case = f"{name} float32 {render_size(num_bytes)} on {num_ranks} ranks"
        yield Record("preload", case, "time_per_call", 1e6 * seconds, "us", STOCK, 1e6 * stock[name, num_bytes],
                     TARGET)


def render_table(records: Iterable[Record]) -> str:
    """Return one line per case: time with the library, without, and the ratio; ``!`` marks one that became slower."""
    rows = [[record.case, f"{record.value:.1f}", f"{record.peer_value:.1f}",
             f"{'' if record.ok else '! '}{record.ratio:.2f}"] for record in records if record.peer]
    return render_columns(("time per call, us", "preloaded", "stock MPI", "ratio"), rows)
