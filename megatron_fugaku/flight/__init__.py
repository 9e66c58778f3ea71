"""The flight recorder's files: what every rank's operations were, while a job hangs and after it died.

The MPI backend writes one file per rank (``csrc/comm/flight.h``); nothing here loads torch or MPI.
"""

from megatron_fugaku.flight.files import FOLDER, Group, Operation, RankRecord, load_flight, path_of
from megatron_fugaku.flight.stuck import explain_stuck
from megatron_fugaku.flight.trace import build_flight_trace

__all__ = ["FOLDER", "Group", "Operation", "RankRecord", "build_flight_trace", "explain_stuck", "load_flight",
           "path_of"]
