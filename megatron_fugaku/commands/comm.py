"""``mfugaku comm table``: which algorithm carries a collective."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what can be shown."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    help_line = "the rules that choose algorithms, those of MFUGAKU_COMM_ALGORITHM among them"
    what.add_parser("table", help=help_line, description=help_line)


def run(args: argparse.Namespace) -> int:
    """Print the rules in their order; return 0."""
    from megatron_fugaku import comm, environment
    from megatron_fugaku.comm.extension import load_extension

    load_extension().set_algorithms(environment.get("MFUGAKU_COMM_ALGORITHM"))
    if environment.get("MFUGAKU_COMM_TRANSPORT") is not environment.Transport.MPI:
        print("Groups within one node: shared memory (MFUGAKU_COMM_TRANSPORT=mpi: as between nodes).")
    else:
        print("Groups within one node: as between nodes, by MFUGAKU_COMM_TRANSPORT=mpi.")
    print("Groups across nodes: the first rule that fits.")
    for rule in comm.algorithms():
        print(f"  {rule}")
    return 0
