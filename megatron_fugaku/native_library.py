"""Loads the compiled parts of this package, and says what to do when one does not load.

The dynamic linker's own words name a symptom; for a library of another architecture they even say that the file does
not exist. The cause stands in the library itself, next to what this machine has.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from megatron_fugaku.elf import read_library
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.mpi_families import TITLES

Loaded = TypeVar("Loaded")

BUILD_HERE = "pip install --no-build-isolation --force-reinstall --no-deps <this package>"
OR_THE_IMAGE = "or run the container image (docker/README.md)"
_OF_TORCH = re.compile(r"_ZNK?(3c10|4c10d|2at|5torch)|aoti_torch_|torch_")
_OF_MPI = re.compile(r"P?MPI_|ompi_|opal_|mca_|MPIR_|MPIX_")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _installed_torch() -> str:
    try:
        return f"torch {metadata.version('torch')}"
    except metadata.PackageNotFoundError:
        return "torch, which is not installed"


def present_glibc() -> str:
    """Return the version of the C library that runs this process, such as ``glibc 2.36``."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "another C library than glibc"
    except (ValueError, OSError):
        return "another C library than glibc"


def _mpi_folders() -> Iterator[Path]:
    """Where users keep the MPI they mean: LD_LIBRARY_PATH, and beside the mpirun on PATH."""
    yield from (Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder)
    mpirun = shutil.which("mpirun") or shutil.which("mpiexec")
    if mpirun is not None:
        prefix = Path(mpirun).resolve().parents[1]
        yield from (prefix / "lib", prefix / "lib64")


def _find_mpi_libraries() -> list[Path]:
    return [path for folder in _mpi_folders() for name in TITLES if (path := folder / name).exists()]


def _without_mpi(what: str, library: str, where: str) -> EnvironmentError:
    family = TITLES.get(library, "an MPI")
    found = _find_mpi_libraries()
    same = [path for path in found if path.name == library]
    if same:
        fix = f"it stands in {same[0].parent}: add that folder to LD_LIBRARY_PATH on every node"
    elif found:
        other = TITLES[found[0].name]
        fix = (f"found is {found[0]} of {other}: load {family} in its place, or build against what is there with "
               f"MPICXX set to its mpicxx: {BUILD_HERE}")
    else:
        fix = (f"install {family} (Debian's Open MPI 4: apt install openmpi-bin), load its module, or add its lib "
               f"folder to LD_LIBRARY_PATH; with another MPI, build against it: {BUILD_HERE}")
    return EnvironmentError(
        f"{what} needs {library} ({family}), which is not found at run time",
        "without an MPI library the ranks cannot talk to each other", fix, where,
    )


def _with_old_library(what: str, asking: Path, version: str, library: str, where: str) -> EnvironmentError:
    if version.startswith("GLIBC_"):
        facts = read_library(asking)
        wanted = [name for names in facts.versions.values() for name in names] if facts else []
        numbered = [name for name in (*wanted, version) if re.fullmatch(r"GLIBC_[\d.]+", name)]
        newest = max(numbered, key=_numbers, default=version)
        return EnvironmentError(
            f"{what} needs glibc {newest.removeprefix('GLIBC_')}, but this machine has {present_glibc()}",
            "it was built on a newer system, and a process cannot exchange its C library",
            f"build it on this machine: {BUILD_HERE}; {OR_THE_IMAGE}", where,
        )
    return EnvironmentError(
        f"{what} needs {version}, which {library} lacks",
        "it was built with a newer compiler or library than the one found at run time",
        f"load the module of the compiler it was built with, or build it here: {BUILD_HERE}", where,
    )


def _with_undefined_symbol(what: str, symbol: str, where: str) -> EnvironmentError:
    if _OF_TORCH.match(symbol):
        return EnvironmentError(
            f"{what} needs {symbol}, which is not in {_installed_torch()}",
            "it was built for another torch", f"rebuild it: {BUILD_HERE}", where,
        )
    if _OF_MPI.match(symbol):
        return EnvironmentError(
            f"{what} needs {symbol}, which the MPI library found at run time lacks",
            "it was built against another MPI, or a newer one",
            f"load the MPI it was built with, or rebuild it with MPICXX set to this one's mpicxx: {BUILD_HERE}", where,
        )
    return EnvironmentError(
        f"{what} needs {symbol}, which no library here has",
        "it was built against other libraries than the ones found now", f"rebuild it: {BUILD_HERE}", where,
    )


def _check_file(what: str, path: Path, where: str) -> None:
    try:
        library = read_library(path)
    except OSError as unreadable:
        raise EnvironmentError(f"{what} cannot be read at {path}: {unreadable.strerror}", "it cannot be loaded",
                               f"make the file readable, or build it again: {BUILD_HERE}", where) from unreadable
    if library is None:
        raise EnvironmentError(f"{path} ({path.stat().st_size} bytes) is not a whole shared library",
                               f"{what} cannot be loaded from it", f"build it again: {BUILD_HERE}", where)
    if library.machine != platform.machine():
        raise EnvironmentError(
            f"{what} was built for {library.machine}, but this is {platform.machine()}",
            "a processor runs only its own instructions",
            f"install the package for {platform.machine()}, or build it here: {BUILD_HERE}", where,
        )


def _explain(what: str, path: Path, text: str, where: str) -> EnvironmentError:
    if version := re.search(r"(\S+): version [`'](\S+)' not found(?: \(required by (.+)\))?", text):
        asking = Path(version[3] or path)
        if asking.name != path.name:
            what = f"{asking}, which {what} needs,"
        return _with_old_library(what, asking, version[2], version[1], where)
    if missing := re.search(r"(\S+): cannot open shared object file", text):
        if missing[1].startswith("libmpi"):
            return _without_mpi(what, missing[1], where)
        return EnvironmentError(
            f"{what} needs {missing[1]}, which is not found at run time", "it was linked with that library",
            f"install or load what holds it, or build without it: {BUILD_HERE}", where,
        )
    if symbol := re.search(r"undefined symbol: (\w+)", text):
        return _with_undefined_symbol(what, symbol[1], where)
    if "failed to map segment" in text:
        return EnvironmentError(
            f"{what} at {path} may not be executed", "its file system is mounted with noexec, or memory is used up",
            "install the package on a file system that allows programs", where,
        )
    return EnvironmentError(f"{what} cannot be loaded: {text}", "it does not fit this machine's libraries",
                            f"rebuild it: {BUILD_HERE}", where)


def load_library(what: str, path: Path, load: Callable[[], Loaded], where: str = "") -> Loaded:
    """Return ``load()``, which is to load the shared library at ``path`` by import or dlopen.

    Args:
        what: the library as people call it, such as "the MPI backend".
        where: its name, printed in brackets; the path when empty.

    Raises:
        EnvironmentError: the file is unreadable, cut off or for another processor, or does not fit the libraries of
            this machine; with what to do about it.
    """
    where = where or str(path)
    _check_file(what, path, where)
    try:
        return load()
    except (ImportError, OSError) as error:
        raise _explain(what, path, str(error), where) from error


def explain_foreign_build(what: str, folder: Path, stem: str, where: str = "") -> EnvironmentError | None:
    """Return the error for an extension module that is there, but only for another Python or processor; else None.

    Python's import passes over a file such as ``_mpi.cpython-312-aarch64-linux-gnu.so`` that is not named for it.
    """
    files = sorted(folder.glob(f"{stem}.*.so"))
    if not files:
        return None
    where = where or str(files[0])
    try:
        _check_file(what, files[0], where)
    except EnvironmentError as error:
        return error
    version = ".".join(map(str, sys.version_info[:2]))
    return EnvironmentError(
        f"{what} was built for another Python ({files[0].name}), but this is Python {version}",
        "an extension module fits one Python version", f"build it with this one: {BUILD_HERE}", where,
    )
