"""MPI for torch.distributed.

Where this package is installed, ``import torch`` registers the backend (:mod:`~megatron_fugaku.comm.autoload`), and so
does importing this package: ``torch.distributed.init_process_group("mpi")`` then works with a stock torch wheel, under
``mpirun`` or ``srun`` without any further variable or argument, and in a single process. The backend's own name is
``mfugaku``; a torch that was built with MPI keeps its own ``"mpi"``.

What runs is a C++ extension over whatever MPI it was built with; MPI starts with the first process group, not with the
import. Process groups are made by their members alone, all calls are nonblocking inside, and whoever waits drives
everything that is in flight.
"""

import torch  # noqa: F401  torch registers the backend through the modules below: they must not be half loaded then

from megatron_fugaku.comm.diagnostics import (
    GroupStatistics,
    TraceEvent,
    algorithms,
    build_info,
    drain_trace,
    mpi_library_version,
    reset_statistics,
    set_tracing,
    statistics,
    transport_of,
)
from megatron_fugaku.comm.endings import abort, install_excepthook
from megatron_fugaku.comm.rank_info import RankInfo, rank_info
from megatron_fugaku.comm.recorder import record_flight
from megatron_fugaku.comm.registration import BACKEND, register
from megatron_fugaku.comm.wire import set_wire_rules, wire_formats, wire_of

__all__ = [
    "BACKEND",
    "GroupStatistics",
    "RankInfo",
    "TraceEvent",
    "abort",
    "algorithms",
    "build_info",
    "drain_trace",
    "install_excepthook",
    "mpi_library_version",
    "rank_info",
    "record_flight",
    "register",
    "reset_statistics",
    "set_tracing",
    "set_wire_rules",
    "statistics",
    "transport_of",
    "wire_formats",
    "wire_of",
]

register()
