"""Starts the flight recorder: a file per rank that others can read while this rank hangs, and after it died."""

from __future__ import annotations

import contextlib
from pathlib import Path

from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.flight.files import path_of


def record_flight(folder: str | Path) -> Path:
    """Record this rank's operations in ``folder`` from now on; return the file. ``mfugaku xray`` reads it.

    MPI must be running. Rank 0 removes the files that an earlier job of more ranks left there.

    Raises:
        EnvironmentError: the file cannot be made, or its file system cannot map files.
    """
    extension = load_extension()
    rank, num_ranks = extension.world()
    path = path_of(Path(folder), rank)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        extension.record_flight(str(path))
        if rank == 0:
            for old in path.parent.glob("rank_*.flight"):
                number = old.stem.removeprefix("rank_")
                if number.isdigit() and int(number) >= num_ranks:
                    with contextlib.suppress(FileNotFoundError):
                        old.unlink()
    except (OSError, RuntimeError) as error:
        raise EnvironmentError(f"the flight recorder cannot write {path}: {str(error).partition(chr(10))[0]}",
                               "without it nobody can see what the ranks of a hanging job wait for",
                               "give it a folder that can be written and mapped", str(folder)) from error
    return path
