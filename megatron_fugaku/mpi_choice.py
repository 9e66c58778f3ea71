"""Which build of the MPI backend this process loads: that of the MPI which started it.

A process that loads another MPI than its launcher's finds itself alone, and every rank would train for itself. The
launcher's variables say which family it is of; the program among this process's ancestors that started it says where
its library stands. Neither torch nor MPI is loaded here.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from megatron_fugaku import environment
from megatron_fugaku.elf import read_library
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.mpi_families import FAMILIES, FAMILY_TITLES

STEM = "_mpi_"
FOLDER = Path(__file__).parent / "comm"
#: Programs that start ranks, or keep them on a node, by their files' names.
STARTERS = {
    **dict.fromkeys(("orterun", "orted", "mpirun.openmpi", "prterun", "prted", "prte", "ompirun_wrapper"), "openmpi"),
    **dict.fromkeys(("hydra_pmi_proxy", "hydra_bstrap_proxy", "mpiexec.hydra", "mpirun.mpich"), "mpich"),
}


@dataclass(frozen=True)
class Launcher:
    """What started this process as a rank.

    Attributes:
        family: of :data:`~megatron_fugaku.mpi_families.FAMILY_TITLES`.
        sign: how that is known, for people.
        is_certain: whether no other MPI can be meant; Slurm's own interfaces serve several.
        prefix: where that MPI is installed, when its program was found among this process's ancestors.
    """

    family: str
    sign: str
    is_certain: bool
    prefix: Path | None = None


@dataclass(frozen=True)
class Choice:
    """A build of the backend: its family, file, the MPI library to load before it (None: the linker finds it), why."""

    family: str
    path: Path
    library: Path | None
    reason: str


def find_builds(folder: Path = FOLDER) -> dict[str, Path]:
    """Return the builds of the backend for this Python, by family."""
    builds = {}
    for suffix in EXTENSION_SUFFIXES:
        for path in sorted(folder.glob(f"{STEM}*{suffix}")):
            family = path.name.removeprefix(STEM).removesuffix(suffix)
            if "." not in family:  # ".so" alone also ends the names of those for other Pythons
                builds.setdefault(family, path)
    return builds


def _ancestors(pid: int) -> Iterator[Path]:
    """The program files of the processes above; a name alone where the file may not be read."""
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError, IndexError):
            return
        try:
            yield Path(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            yield Path(name)


def find_launcher(environ: Mapping[str, str] | None = None, pid: int | None = None) -> Launcher | None:
    """Return what started this process as a rank of a job, or None when nothing did."""
    source = os.environ if environ is None else environ
    is_pjm = "PJM_JOBID" in source
    if "OMPI_COMM_WORLD_RANK" in source:
        told = Launcher("fujitsu" if is_pjm else "openmpi", "OMPI_COMM_WORLD_RANK", not is_pjm)
    elif "PMI_RANK" in source:
        told = Launcher("mpich", "PMI_RANK", "SLURM_STEP_ID" not in source)
    elif "PMIX_RANK" in source:
        told = Launcher("fujitsu" if is_pjm else "openmpi", "PMIX_RANK", False)
    else:
        return None
    for program in _ancestors(os.getpid() if pid is None else pid):
        family = STARTERS.get(program.name)
        if family and program.is_absolute() and (family == told.family or not told.is_certain):
            return Launcher(family, f"{told.sign} and {program}", True, program.parents[1])
    return told


def family_of_mpirun(path: str | Path) -> str | None:
    """Return the family of an mpirun by its name, or by the library beside it; None when neither tells."""
    program = Path(path).resolve()
    if program.name in STARTERS:
        return STARTERS[program.name]
    return next((family for name, family in FAMILIES.items() if _library_in(program.parents[1], name)), None)


def _library_in(prefix: Path, name: str) -> Path | None:
    folders = ("lib", "lib64", f"lib/{sysconfig.get_config_var('MULTIARCH')}")
    return next((path for folder in folders if (path := prefix / folder / name).exists()), None)


def _forced() -> str | None:
    return environment.get("MFUGAKU_MPI") or None


def _title(family: str) -> str:
    return FAMILY_TITLES.get(family, family)


def _check_is_built(family: str, why: str, builds: Mapping[str, Path]) -> None:
    if family in builds:
        return
    have = " and ".join(_title(name) for name in builds)
    raise EnvironmentError(
        f"{why}, but the MPI backend here is built for {have} only",
        "with another MPI than its launcher's every rank would be alone",
        f"start the ranks with the mpirun of {have}, or install this package again with MPICXX naming the mpicxx of "
        f"{_title(family)} (several with colons between them)",
        "MFUGAKU_MPI",
    )


def _usual_family(builds: Mapping[str, Path]) -> tuple[str, str]:
    """The family for a process that nothing started as a rank, and why."""
    candidates = [environment.get("MFUGAKU_MPIRUN"), Path(sys.prefix, "bin", "mpirun"), shutil.which("mpirun")]
    for mpirun in filter(None, candidates):
        if (family := family_of_mpirun(mpirun)) in builds:
            return family, f"that of {mpirun}"
    family = next(iter(builds))
    return family, "the only one built" if len(builds) == 1 else "the first one built"


def choose_build(builds: Mapping[str, Path]) -> Choice:
    """Return the build for this process, one of at least one: MFUGAKU_MPI's, else its launcher's, else the usual one.

    Raises:
        EnvironmentError: there is none for the MPI that started this process.
    """
    launcher, forced = find_launcher(), _forced()
    if forced:
        family, reason = forced, "MFUGAKU_MPI says so"
        _check_is_built(family, f"MFUGAKU_MPI asks for {_title(family)}", builds)
    elif launcher and (launcher.is_certain or launcher.family in builds):
        family, reason = launcher.family, f"it started this process ({launcher.sign})"
        _check_is_built(family, f"{_title(family)} started this process ({launcher.sign})", builds)
    else:
        family, reason = _usual_family(builds)
    prefix = launcher.prefix if launcher and launcher.family == family else None
    return Choice(family, builds[family], _find_library(builds[family], prefix), reason)


def _find_library(path: Path, prefix: Path | None) -> Path | None:
    """The library of the name that the build asks for: the launcher's own, else that of a wheel beside this Python."""
    facts = read_library(path)
    name = next((name for name in (facts.needed if facts else ()) if name in FAMILIES), None)
    if name is None:
        return None
    named = (Path(folder, name) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder)
    if prefix is None and any(library.exists() for library in named):
        return None
    return _library_in(prefix or Path(sys.prefix), name)
