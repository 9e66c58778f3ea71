"""Start a program on N ranks of this machine: threads and cores per rank chosen, ranks supervised."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku.errors import LaunchError
from megatron_fugaku.launch import bind
from megatron_fugaku.launch.machine import Cores, Placement, find_cores, plan_placement
from megatron_fugaku.launch.mpi import MpiRun, build_mpirun_command, find_mpirun, mpi_environment
from megatron_fugaku.launch.supervise import GRACE_S, Outcome, supervise

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class LocalLaunch:
    """Everything that ``mfugaku launch local`` decided, before anything is started.

    Attributes:
        argv: the mpirun command.
        variables: environment variables set on top of the caller's.
        placement: threads and cores of each rank.
        mpi: the mpirun found.
        num_ranks: ranks started.
    """

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    placement: Placement
    mpi: MpiRun
    num_ranks: int

    def explain(self) -> str:
        """Return one line for people."""
        family = "Open MPI" if self.mpi.flavor == "openmpi" else "MPICH/Hydra"
        threads = self.placement.num_threads
        return (f"{self.num_ranks} rank{'s' * (self.num_ranks > 1)} of {threads} thread{'s' * (threads > 1)} with "
                f"{family} {self.mpi.version}: {self.placement.reason}")

    def render(self) -> str:
        """Return the launch as a shell command that can be pasted."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(self.variables.items())]
        return " ".join(["env", *variables, shlex.join(self.argv)])


def plan_local(command: Sequence[str], num_ranks: int, *, threads_per_rank: int | None = None,
               environment: Mapping[str, str] | None = None, cores: Cores | None = None,
               mpi: MpiRun | None = None) -> LocalLaunch:
    """Choose threads, binding and the mpirun command for ``command`` on ``num_ranks`` ranks of this machine.

    Args:
        command: program and arguments of every rank.
        num_ranks: ranks to start.
        threads_per_rank: None takes OMP_NUM_THREADS when it is set, else an equal share of the usable cores.
        environment: further variables of every rank; they win over what is chosen here.
        cores: what may be used; None looks at this machine.
        mpi: the mpirun; None finds one.

    Raises:
        EnvironmentError: there is no usable mpirun.
        PlanError: an impossible number of ranks or threads.
    """
    mpi = mpi or find_mpirun()
    cores = cores or find_cores()
    wish = (environment or {}).get("OMP_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS", "")
    if threads_per_rank is None and wish.isdigit():
        threads_per_rank = max(1, int(wish))
    placement = plan_placement(num_ranks, cores, threads_per_rank)
    variables = dict.fromkeys(THREAD_VARIABLES, str(placement.num_threads))
    if placement.is_oversubscribed:
        variables["OMP_WAIT_POLICY"] = "PASSIVE"
    variables |= mpi_environment(mpi, placement.is_oversubscribed)
    variables |= environment or {}
    ranks = list(command)
    if placement.cpu_sets is not None:
        sets = ";".join(",".join(map(str, cpus)) for cpus in placement.cpu_sets)
        ranks = [sys.executable, "-S", "-E", "-P", str(Path(bind.__file__)), sets, *ranks]
    return LocalLaunch(tuple(build_mpirun_command(mpi, num_ranks, ranks)), variables, placement, mpi, num_ranks)


def launch_local(command: Sequence[str], num_ranks: int, *, threads_per_rank: int | None = None,
                 environment: Mapping[str, str] | None = None, resume_hint: str = "start it again",
                 grace_s: float = GRACE_S) -> Outcome:
    """Run ``command`` on ``num_ranks`` ranks of this machine and wait for it.

    Returns:
        the outcome of a job that ended well, or that was interrupted by a signal (``interrupted_by``).

    Raises:
        LaunchError: a rank died; the message names it, how it ended and ``resume_hint``. All ranks are gone by then.
    """
    plan = plan_local(command, num_ranks, threads_per_rank=threads_per_rank, environment=environment)
    return run_plan(plan, resume_hint=resume_hint, grace_s=grace_s)


def run_plan(plan: LocalLaunch, *, resume_hint: str = "start it again", grace_s: float = GRACE_S) -> Outcome:
    """Run what :func:`plan_local` planned; see :func:`launch_local`."""
    outcome = supervise(plan.argv, {**os.environ, **plan.variables}, grace_s)
    if outcome.survivors:
        raise LaunchError(f"processes {', '.join(map(str, outcome.survivors))} could not be ended",
                          "they still hold cores and memory", "end them by hand", "mfugaku launch local")
    if outcome.failure is not None:
        raise LaunchError(f"{outcome.failure.explain()} after {outcome.duration_s:.0f} s; all "
                          f"{plan.num_ranks} ranks have been ended", "a step needs every rank", resume_hint,
                          "mfugaku launch local")
    return outcome
