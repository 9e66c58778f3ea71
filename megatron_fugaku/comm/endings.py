"""How a job ends when one of its ranks cannot go on."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.comm.rank_info import rank_info


def _is_mpi_running() -> bool:
    # An MPI that was never loaded needs no ending, and a missing extension no second error.
    return "megatron_fugaku.comm._mpi" in sys.modules and load_extension().is_ready()


def abort(message: str, code: int = 1) -> NoReturn:
    """Print ``rank N: message`` and end the whole job with MPI_Abort, at once and without clean-up.

    Before MPI is initialised only this process ends.
    """
    prefix = f"rank {rank_info().rank}: "
    text = "".join(f"{prefix}{line}\n" for line in message.rstrip("\n").split("\n"))
    sys.stdout.flush()
    # torch captures sys.stderr around exception hooks; what is written there would die with the process.
    os.write(2, text.encode(errors="replace"))
    if _is_mpi_running():
        load_extension().abort("", code)
    os._exit(code)


def install_excepthook() -> None:
    """Let an uncaught exception on any rank print that rank's traceback and end the whole job. Idempotent.

    Called by the backend when a job of more than one process starts. KeyboardInterrupt counts as well.
    """
    if getattr(sys.excepthook, "_ends_mpi_job", False):
        return
    previous = sys.excepthook

    def end_job(kind, value, trace) -> None:
        if not _is_mpi_running():
            previous(kind, value, trace)
            return
        abort("".join(traceback.format_exception(kind, value, trace)))

    end_job._ends_mpi_job = True
    sys.excepthook = end_job
