"""``mfugaku bench comm|preload|smpi|kernels|step``: on this machine, or by a model (a torus, SimGrid, an emulated
A64FX)."""

from __future__ import annotations

import argparse
from pathlib import Path

from megatron_fugaku.errors import ConfigError, EnvironmentError


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
    from megatron_fugaku.bench.a64fx_counts import COMPILERS
    from megatron_fugaku.bench.comm import DATA_TYPES, OPERATIONS, SIZES, Plan
    from megatron_fugaku.bench.preload import SIZES as PRELOAD_SIZES
    from megatron_fugaku.bench.records import parse_size
    from megatron_fugaku.bench.smpi import CASES
    from megatron_fugaku.bench.step import NUM_ROUNDS, TARGETS

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
    comm.add_argument("--simulate", metavar="SHAPE", help="start nothing; model all-reduces of 1 KiB to 1 GiB and a "
                      "step's communication on a torus such as 48x6x48 (of --sizes, if given)")
    comm.add_argument("--config", metavar="CONFIG", help="run to simulate (default: the 13B run on 48x6x48, else "
                      "one group of all nodes)")
    comm.add_argument("--plot", type=Path, metavar="PATH", help="with --simulate: also draw the figures")

    help_line = "a program in C with the library of `mfugaku comm preload` and without, on this machine"
    preload = which.add_parser("preload", help=help_line, description=help_line)
    preload.add_argument("--ranks", type=int, default=2, metavar="N", help="ranks to start (default: 2)")
    preload.add_argument("--sizes", type=_list_of(parse_size), default=PRELOAD_SIZES, metavar="SIZES",
                         help="bytes of the whole vector, as in 1K,64K,1M (default: 1K to 64M)")
    preload.add_argument("--starts", type=int, default=3, metavar="N",
                         help="how often it is started, of which the best counts (default: 3)")
    preload.add_argument("--json", type=Path, metavar="PATH", help="also write one line of JSON per comparison")

    help_line = "the backend's own schedules on simulated torus networks, by SimGrid; shares of what the links allow"
    smpi = which.add_parser("smpi", help=help_line, description=help_line)
    names = tuple(dict.fromkeys(case.name for case in CASES))
    smpi.add_argument("--cases", type=_list_of(_one_of(names)), default=(), metavar="CASES",
                      help=f"some of {','.join(names)} (default: all)")
    smpi.add_argument("--overheads", action="store_true", help="messages, memory and network interfaces take time too")
    smpi.add_argument("--model", action="store_true", help="instead compare with the model of links that --simulate of "
                      "`mfugaku bench comm` and `mfugaku plan` go by")
    smpi.add_argument("--json", type=Path, metavar="PATH", help="also write one line of JSON per case")

    help_line = "kernels beside stock torch: timed here, or on an emulated A64FX by instructions and modelled cycles"
    kernels = which.add_parser("kernels", help=help_line, description=help_line)
    kernels.add_argument("--target", choices=("a64fx", "here"), required=True,
                         help="`here`: this CPU; `a64fx`: emulated, on Linux x86-64, for which all options are but "
                         "--cases and --json")
    kernels.add_argument("--cases", type=_list_of(str.strip), default=(), metavar="WORDS",
                         help="only cases whose names contain one of these, as in dropout,'gelu backward'")
    kernels.add_argument("--compiler", choices=tuple(COMPILERS), default="gcc",
                         help="what compiles the kernels for aarch64 (default: gcc)")
    kernels.add_argument("--threads", type=int, default=48, metavar="N",
                         help="threads that share the whole 13B shapes; 0: leave that out (default: 48)")
    kernels.add_argument("--no-peers", action="store_true", help="leave stock torch out, which takes minutes")
    kernels.add_argument("--arm64-root", type=Path, metavar="FOLDER",
                         help="an aarch64 system with torch (default: an image of docker/build.sh)")
    kernels.add_argument("--plot", type=Path, metavar="PATH", help="also draw the steps of a 13B layer")
    kernels.add_argument("--json", type=Path, metavar="PATH", help="also write one line of JSON per comparison")

    help_line = "whole training steps of a GPT in one process, against megatron-core on torch and transformers"
    step = which.add_parser("step", help=help_line, description=help_line)
    step.add_argument("--precision", type=_list_of(_one_of(tuple(TARGETS))), default=tuple(TARGETS), metavar="TYPES",
                      help=f"some of {','.join(TARGETS)} (default: all)")
    step.add_argument("--threads", type=int, metavar="N", help="threads of the process (default: one for each core)")
    step.add_argument("--rounds", type=int, default=NUM_ROUNDS, metavar="N",
                      help=f"steps of each, of which the fastest counts (default: {NUM_ROUNDS})")
    step.add_argument("--json", type=Path, metavar="PATH", help="also write one line of JSON per comparison")


def run(args: argparse.Namespace) -> int:
    """Measure or model, print tables and how many targets are met; the exit code does not depend on them."""
    from megatron_fugaku.bench.records import render_json_lines

    if args.benchmark == "smpi":
        records = _run_smpi(args)
    elif args.benchmark == "preload":
        records = _run_preload(args)
    elif args.benchmark == "kernels":
        records = _run_kernels(args)
    elif args.benchmark == "step":
        records = _run_step(args)
    else:
        records = _simulate(args) if args.simulate is not None else _measure(args)
    if args.json is not None:
        _write(args.json, render_json_lines(records))
    return 0


def _run_smpi(args: argparse.Namespace) -> list:
    from megatron_fugaku.bench import smpi, smpi_model

    if args.model:
        if args.cases:
            raise ConfigError("--cases is given with --model", "the model is compared in cases of its own",
                              "leave one of them out", "--cases")
        records = smpi_model.simulate(args.overheads)
        print(smpi_model.render_table(records), end="")
        return records
    records, costs = smpi.simulate(args.cases, args.overheads)
    print(smpi.render_table(records, costs), end="")
    return records


def _run_preload(args: argparse.Namespace) -> list:
    from megatron_fugaku.bench import preload
    from megatron_fugaku.bench.comm import render_verdict

    records = preload.measure(args.ranks, args.sizes, num_starts=args.starts)
    print(f"{records[0].case}; load average up to {records[0].value:.1f}")
    print(preload.render_table(records), end="")
    print(render_verdict(records), end="")
    return records


def _run_kernels(args: argparse.Namespace) -> list:
    if args.target == "here":
        from megatron_fugaku.bench import kernels_here

        records = kernels_here.measure(args.cases)
        print(kernels_here.render_table(records), end="")
        return records
    from megatron_fugaku.bench import kernels

    if args.threads < 0:
        raise ConfigError(f"--threads is {args.threads}", "so many threads cannot share anything",
                          "give a number of 1 or more, or 0 to leave that out", "--threads")
    if args.plot is not None and (args.cases or args.no_peers):
        raise ConfigError("--plot is given with --cases or --no-peers", "the picture compares a whole layer with torch",
                          "leave one of them out", "--plot")
    outcome = kernels.measure(kernels.Plan(args.cases, args.compiler, args.threads, not args.no_peers, args.arm64_root))
    records = kernels.compare(outcome)
    print(kernels.render_report(outcome, records), end="")
    if args.plot is not None:
        from megatron_fugaku.bench.kernel_plot import plot_score

        plot_score(args.plot, kernels.score(outcome), outcome.torch)
    return records


def _run_step(args: argparse.Namespace) -> list:
    from megatron_fugaku.bench import step

    for option, value in (("--threads", args.threads), ("--rounds", args.rounds)):
        if value is not None and value < 1:
            raise ConfigError(f"{option} is {value}", "there would be nothing to measure", "give 1 or more", option)
    records = []
    for precision in args.precision:
        outcome = step.measure(step.choose_shape(precision, args.threads), args.rounds)
        found = step.compare(outcome)
        print(step.render_report(outcome, found), flush=True)
        records += found
    return records


def _measure(args: argparse.Namespace) -> list:
    from megatron_fugaku.bench.comm import Plan, compare, measure, render_table, render_verdict

    for option, value in (("--config", args.config), ("--plot", args.plot)):
        if value is not None:
            raise ConfigError(f"{option} is given without --simulate", "a measurement has neither a run nor a figure",
                              "add --simulate 48x6x48 or leave it out", option)
    outcome = measure(Plan(args.ranks, args.sizes, args.ops, args.dtypes, args.rounds))
    records = compare(outcome)
    print(outcome.render_conditions())
    print(render_table(records), end="")
    print(render_verdict(records), end="")
    return records


def _simulate(args: argparse.Namespace) -> list:
    from megatron_fugaku.bench import comm, torus
    from megatron_fugaku.bench.torus_plot import plot_simulation
    from megatron_fugaku.config import check_config, load_config

    config = None
    if args.config is not None:
        config = load_config(args.config, [])
        check_config(config, files=False)
    sizes = torus.SIZES if args.sizes is comm.SIZES else args.sizes
    simulation, calls, steps, records, report = torus.simulate(args.simulate, config, sizes)
    print(report, end="")
    if args.plot is not None:
        plot_simulation(args.plot, simulation, calls, steps)
    return records


def _write(path: Path, text: str) -> None:
    from megatron_fugaku.atomic_file import write_text_atomically

    try:
        write_text_atomically(path, text)
    except OSError as error:
        raise EnvironmentError(f"{path} cannot be written: {error.strerror}", "the records are lost",
                               "choose another path", "--json") from error
