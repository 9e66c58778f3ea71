"""``mfugaku run SCRIPT ARGS...`` and ``mfugaku run -m MODULE ARGS...``, started by mpirun or srun on every rank."""

from __future__ import annotations

import argparse

from megatron_fugaku.port import Program, run_program


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("-m", dest="module", action="store_true", help="run a module, as `python -m` does")
    parser.add_argument("program", help="the script, or the module after -m")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program gets")


def run(args: argparse.Namespace) -> int:
    """Run the program; its exit code is that of the command."""
    run_program(Program(args.program, args.arguments, args.module))
    return 0
