"""``mfugaku comm table|tune|wire|flags|preload``: algorithms of collectives, and the backend for programs in C."""

from __future__ import annotations

import argparse
from pathlib import Path

ALGORITHMS = ("ring", "lanes:24x12l", "swing")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what can be shown."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    help_line = "the rules that choose algorithms, those that were asked for or measured among them"
    what.add_parser("table", help=help_line, description=help_line)
    help_line = "measure algorithms between the nodes of this job and write rules for MFUGAKU_COMM_TABLE"
    tune = what.add_parser("tune", help=help_line, description=help_line + ". Run it under mpirun or srun on the nodes "
                           "and with the ranks of the job that is to use them.")
    tune.add_argument("--output", type=Path, required=True, help="file that receives rules and times")
    tune.add_argument("--max-bytes", type=int, default=1 << 24, help="longest vector (default: %(default)s)")
    tune.add_argument("--shape", action="append", default=[], metavar="SHAPE",
                      help="a torus that the ranks are, as 24x12l, to try lanes and swing on; may be repeated")
    help_line = "how far sums are from float64 when messages carry 16-bit floats, or float32"
    wire = what.add_parser("wire", help=help_line, description=help_line + ". Rehearses the all-reduce of normal "
                           "numbers by all ranks in this process, with the schedules and the arithmetic of real ones.")
    wire.add_argument("--ranks", type=int, default=288, help="ranks that sum up (default: %(default)s)")
    wire.add_argument("--elements", type=int, default=0, help="of the vector (default: 8 for each rank)")
    wire.add_argument("--algorithm", action="append", metavar="NAME",
                      help="as MFUGAKU_COMM_ALGORITHM has it; may be repeated (default: those of "
                           f"{', '.join(ALGORITHMS)} that fit)")
    help_line = "what a C compiler needs for programs that include mfugaku_comm.h"
    what.add_parser("flags", help=help_line, description=help_line + ": mpicc program.c $(mfugaku comm flags)")
    help_line = "the library for LD_PRELOAD that carries the collectives of any program with MPI"
    preload = what.add_parser("preload", help=help_line, description=help_line + ": mpirun -n 4 env "
                              "LD_PRELOAD=$(mfugaku comm preload) program. It serves MPI_Allreduce, MPI_Allgather and "
                              "MPI_Reduce_scatter_block of long vectors; MPI does the rest.")
    preload.add_argument("program", type=Path, nargs="?", metavar="PROGRAM",
                         help="an executable whose MPI it is to be for (default: that of mpirun)")


def run(args: argparse.Namespace) -> int:
    """Print the rules in their order, the errors of sums, or where a library is; return 0."""
    return {"table": _print_rules, "tune": _tune, "wire": _print_errors, "flags": _print_flags,
            "preload": _print_preload}[args.what](args)


def _print_flags(_args: argparse.Namespace) -> int:
    from megatron_fugaku.c_library import compiler_flags

    print(compiler_flags())
    return 0


def _print_preload(args: argparse.Namespace) -> int:
    from megatron_fugaku.c_library import PRELOAD, find_library

    print(find_library(PRELOAD, args.program))
    return 0


def _tune(args: argparse.Namespace) -> int:
    from megatron_fugaku.bench.comm_tune import tune

    tune(args.output, args.max_bytes, tuple(args.shape))
    return 0


def _print_rules(_args: argparse.Namespace) -> int:
    from megatron_fugaku import comm, environment
    from megatron_fugaku.comm.extension import load_extension
    from megatron_fugaku.comm.measured import load_rules

    path = environment.get("MFUGAKU_COMM_TABLE")
    load_extension().set_algorithms(environment.get("MFUGAKU_COMM_ALGORITHM"), load_rules(path) if path else "")
    if environment.get("MFUGAKU_COMM_TRANSPORT") is not environment.Transport.MPI:
        print("Groups within one node: shared memory (MFUGAKU_COMM_TRANSPORT=mpi: as between nodes).")
    else:
        print("Groups within one node: as between nodes, by MFUGAKU_COMM_TRANSPORT=mpi.")
    print("Groups across nodes: the first rule that fits.")
    origins = {"asked for": "asked for by MFUGAKU_COMM_ALGORITHM", "measured": f"measured, of {path}",
               "built in": "built in"}
    for rule, source in zip(comm.algorithms(), load_extension().algorithm_sources(), strict=True):
        print(f"  {rule:<72} {origins[source]}")
    return 0


def _print_errors(args: argparse.Namespace) -> int:
    from megatron_fugaku.comm.extension import load_extension
    from megatron_fugaku.comm.wire import FORMATS
    from megatron_fugaku.errors import CommError

    if not 2 <= args.ranks <= 4096 or args.elements < 0:
        raise CommError(f"a sum over {args.ranks} ranks of {args.elements} elements cannot be rehearsed",
                        "all ranks are rehearsed in this process", "give 2 to 4096 ranks and 1 element or more",
                        "mfugaku comm wire")
    algorithms = args.algorithm or [name for name in ALGORITHMS if name != "lanes:24x12l" or args.ranks == 288]
    elements = args.elements or 8 * args.ranks
    print(f"All-reduce of {elements:,} normal numbers over {args.ranks} ranks, accumulated in float32: rms and largest "
          "difference from float64, over the rms of the sums.")
    print(f"  {'':<16}" + "".join(f"{'messages of ' + name:>24}" for name in FORMATS))
    for algorithm in algorithms:
        cells = []
        for name in FORMATS.values():
            try:
                largest, rms = load_extension().wire_error(algorithm, args.ranks, elements, name)
            except ValueError as error:
                raise CommError(str(error).rstrip("."), "messages of a narrow wire are those of a schedule",
                                "name ring, halving, swing, or lanes:SHAPE or swing:SHAPE with as many ranks",
                                "mfugaku comm wire --algorithm") from error
            cells.append(f"{rms:.1e} {largest:.1e}")
        print(f"  {algorithm:<16}" + "".join(f"{cell:>24}" for cell in cells))
    return 0
