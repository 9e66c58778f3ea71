"""``mfugaku comm table|tune|wire|flags|preload``: algorithms of collectives, and the backend for programs in C."""

from __future__ import annotations

import argparse
from pathlib import Path

ALGORITHMS = ("ring", "lanes:24x12l", "swing")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what can be shown."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    help_line = "which algorithm carries which collective: the rules, and what the model says where none fits"
    table = what.add_parser("table", help=help_line, description=help_line)
    table.add_argument("--ranks", type=int, default=16, help="of the group (default: %(default)s)")
    table.add_argument("--ranks-per-node", type=int, default=1, help="of the group (default: %(default)s)")
    help_line = "measure algorithms between the nodes of this job and write rules and costs for MFUGAKU_COMM_TABLE"
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


def _print_rules(args: argparse.Namespace) -> int:
    from megatron_fugaku import comm, environment
    from megatron_fugaku.bench.comm_costs import render_costs
    from megatron_fugaku.bench.records import render_columns, render_size
    from megatron_fugaku.comm.extension import load_extension
    from megatron_fugaku.comm.measured import Measured, load_measured
    from megatron_fugaku.errors import CommError

    if args.ranks < 2 or args.ranks_per_node < 1 or args.ranks % args.ranks_per_node != 0:
        raise CommError(f"a group of {args.ranks} ranks, {args.ranks_per_node} on each node, has no algorithms",
                        "there is nothing to choose", "give 2 ranks or more, the same number on each node",
                        "mfugaku comm table")
    path, extension = environment.get("MFUGAKU_COMM_TABLE"), load_extension()
    measured = load_measured(path, extension.cost_names()) if path else Measured()
    measured.apply(extension)
    if environment.get("MFUGAKU_COMM_TRANSPORT") is not environment.Transport.MPI:
        print("Groups within one node: shared memory (MFUGAKU_COMM_TRANSPORT=mpi: as between nodes).")
    else:
        print("Groups within one node: as between nodes, by MFUGAKU_COMM_TRANSPORT=mpi.")
    print("Groups across nodes: the first rule that fits, else the algorithm that the model expects to take least.")
    origins = {"asked for": "asked for by MFUGAKU_COMM_ALGORITHM", "measured": f"measured, of {path}"}
    for rule, source in zip(comm.algorithms(), extension.algorithm_sources(), strict=True):
        print(f"  {rule:<72} {origins[source]}")
    costs_s = dict(zip(extension.cost_names(), extension.costs(), strict=True))
    print(f"Costs of the model, {f'measured, of {path}' if measured.costs else 'built in'}: {render_costs(costs_s)}.")
    nodes = f", {args.ranks_per_node} on each node" if args.ranks_per_node > 1 else ""
    print(f"Chosen for a group of {args.ranks} ranks{nodes}, of float32, and what the model expects it to take; behind "
          "it the next best:")
    rows = []
    for collective in ("all_reduce", "reduce_scatter", "all_gather"):
        for exponent in range(10, 31, 4):
            times = extension.expected_times(collective, 1 << exponent, args.ranks, args.ranks_per_node)
            rows.append([f"  {collective} {render_size(1 << exponent)}",
                         *(word for name, seconds in times[:3] for word in (name, f"{1e6 * seconds:,.0f} us"))])
    print(render_columns(["  bytes of the vector", "chosen", "", "or", "", "or", ""], rows), end="")
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
