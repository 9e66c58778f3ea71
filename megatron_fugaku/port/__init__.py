"""Runs programs of others, unmodified, on the CPUs of an MPI job."""

from megatron_fugaku.port.program import Program, patch, run_program

__all__ = ["Program", "patch", "run_program"]
