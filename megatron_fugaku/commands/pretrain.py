"""``mfugaku pretrain CONFIG [section.key=value ...]``, started by mpirun or srun on every rank."""

from __future__ import annotations

import argparse

from megatron_fugaku import comm, patches
from megatron_fugaku.config import check_config, load_config
from megatron_fugaku.patches.noise import silence_upstream


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("config", help="YAML file of the run")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the file")


def run(args: argparse.Namespace) -> int:
    """Check the run, then train."""
    config = load_config(args.config, args.overrides)
    check_config(config, world_size=comm.rank_info().world_size)
    silence_upstream()
    patches.prepare_imports()
    from megatron_fugaku.train.runtime import distributed_runtime

    with distributed_runtime(config, has_flight_recorder=True):
        from megatron_fugaku.checkpoint import build_checkpointer
        from megatron_fugaku.train import pretrain

        pretrain(config, build_checkpointer(config))
    return 0
