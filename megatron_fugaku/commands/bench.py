"""``mfugaku bench comm``."""

from __future__ import annotations

import argparse
from pathlib import Path

from megatron_fugaku.errors import EnvironmentError


def _list_of(parse):
    def parse_list(text: str) -> tuple:
        return tuple(parse(part) for part in text.split(",") if part.strip())

    parse_list.__name__ = "list"
    return parse_list


def _one_of(choices: tuple[str, ...]):
    def parse(text: str) -> str:
        if text.strip() not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(choices)}")
        return text.strip()

    return parse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmarks."""
    from megatron_fugaku.bench.comm import DATA_TYPES, OPERATIONS, SIZES, Plan
    from megatron_fugaku.bench.records import parse_size

    which = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    help_line = "collectives of the MPI backend against gloo and against MPI's own, on this machine"
    comm = which.add_parser("comm", help=help_line, description=help_line)
    comm.add_argument("--ranks", type=int, default=2, metavar="N", help="ranks to start (default: 2)")
    comm.add_argument("--sizes", type=_list_of(parse_size), default=SIZES, metavar="SIZES",
                      help="bytes of the whole vector, as in 1K,64K,1M (default: 1K to 256M)")
    comm.add_argument("--ops", type=_list_of(_one_of(OPERATIONS)), default=OPERATIONS, metavar="OPS",
                      help=f"some of {','.join(OPERATIONS)} (default: all)")
    comm.add_argument("--dtypes", type=_list_of(_one_of(DATA_TYPES)), default=Plan.data_types, metavar="TYPES",
                      help=f"some of {','.join(DATA_TYPES)} (default: {','.join(Plan.data_types)})")
    comm.add_argument("--rounds", type=int, default=Plan.num_rounds, metavar="N",
                      help=f"rounds, of which the best counts (default: {Plan.num_rounds})")
    comm.add_argument("--json", type=Path, metavar="PATH", help="also write one line of JSON per comparison")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table and how many targets are met; the exit code does not depend on them."""
    from megatron_fugaku.atomic_file import write_text_atomically
    from megatron_fugaku.bench.comm import Plan, compare, measure, render_table, render_verdict
    from megatron_fugaku.bench.records import render_json_lines

    outcome = measure(Plan(args.ranks, args.sizes, args.ops, args.dtypes, args.rounds))
    records = compare(outcome)
    print(outcome.render_conditions())
    print(render_table(records), end="")
    print(render_verdict(records), end="")
    if args.json is not None:
        try:
            write_text_atomically(args.json, render_json_lines(records))
        except OSError as error:
            raise EnvironmentError(f"{args.json} cannot be written: {error.strerror}", "the measurements are lost",
                                   "choose another path", "--json") from error
    return 0
