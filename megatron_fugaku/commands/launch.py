"""``mfugaku launch local|pjm|slurm CONFIG.yaml [section.key=value ...]``."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from megatron_fugaku import environment
from megatron_fugaku.cli import OverridesParser
from megatron_fugaku.config import RunConfig, check_config, load_config
from megatron_fugaku.errors import CommError, DataError, LaunchError

MAX_SENTENCES = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the three ways to launch."""
    ways = parser.add_subparsers(dest="way", required=True, metavar="WAY", parser_class=OverridesParser)

    def add_way(name: str, help_line: str) -> argparse.ArgumentParser:
        way = ways.add_parser(name, help=help_line, description=help_line)
        way.add_argument("config", metavar="CONFIG", help="YAML file of the run")
        way.add_argument("overrides", nargs="*", metavar="KEY=VALUE",
                         help="for example train.train_iters=20 or scale=toy")
        return way

    local = add_way("local", "start the ranks on this machine with mpirun, and watch over them")
    local.add_argument("--num-ranks", type=int, metavar="N", help="default: launch.num_nodes x launch.ranks_per_node")
    local.add_argument("--dry-run", action="store_true", help="print the command and start nothing")
    for name, help_line in (("pjm", "write the job folder for Fujitsu's PJM (pjsub), as on Fugaku"),
                            ("slurm", "write the job folder for Slurm (sbatch)")):
        way = add_way(name, help_line)
        way.add_argument("--output", required=True, type=Path, metavar="DIR", help="job folder to write")
        way.add_argument("--overwrite", action="store_true", help="replace a job folder of that name")
        way.add_argument("--check-files", action="store_true", help="also check that data files exist on this machine")


def run(args: argparse.Namespace) -> int:
    """Launch; return 0, or 128 + the signal that ended a local run."""
    config = load_config(args.config, args.overrides)
    if args.way == "local":
        return _run_local(args, config)
    from megatron_fugaku.launch.job import write_job

    check_config(config, files=args.check_files)
    job = write_job(config, args.way, args.output, overwrite=args.overwrite)
    print(job.summary)
    return 0


def _say_who_waited(config: RunConfig, started_s: float) -> None:
    """Print what the ranks of a job that is over were waiting for."""
    from megatron_fugaku.flight import explain_stuck, load_flight

    try:
        records = load_flight(environment.get("MFUGAKU_COMM_FLIGHT_DIR") or config.directory)
    except DataError:
        return
    sentences = explain_stuck([record for record in records if record.beat_s >= started_s])
    for sentence in sentences[:MAX_SENTENCES]:
        print(f"mfugaku launch: {sentence}", file=sys.stderr)
    if len(sentences) > MAX_SENTENCES:
        print(f"mfugaku launch: {len(sentences) - MAX_SENTENCES} other groups waited too: mfugaku xray "
              f"{config.directory}", file=sys.stderr)


def _run_local(args: argparse.Namespace, config: RunConfig) -> int:
    from megatron_fugaku.launch.local import plan_local, run_plan

    num_ranks = config.num_ranks if args.num_ranks is None else args.num_ranks
    check_config(config, world_size=num_ranks)
    command = [sys.executable, "-m", "megatron_fugaku", "pretrain", args.config, *args.overrides]
    plan = plan_local(command, num_ranks, threads_per_rank=config.launch.cpus_per_rank,
                      environment=config.launch.environment)
    if args.dry_run:
        print(f"# {plan.explain()}")
        print(plan.render())
        return 0
    print(f"mfugaku launch: {plan.explain()}", file=sys.stderr)
    again = shlex.join(["mfugaku", "launch", "local", args.config, *args.overrides]
                       + ([f"--num-ranks={num_ranks}"] if args.num_ranks is not None else []))
    resume = (f"resume from the last checkpoint in {config.checkpoint_directory} with the same command: {again}")
    started_s = time.time()
    try:
        outcome = run_plan(plan, resume_hint=resume)
    except LaunchError as error:
        # Whoever waited in vain has given up with this code; that a rank was killed needs no further words.
        if f"code {CommError.exit_code}" in error.what:
            _say_who_waited(config, started_s)
        raise
    if outcome.interrupted_by is not None:
        _say_who_waited(config, started_s)
        print(f"mfugaku launch: ended by signal {outcome.interrupted_by}; {resume}", file=sys.stderr)
        return 128 + outcome.interrupted_by
    return 0
