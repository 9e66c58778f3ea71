"""``mfugaku xray RUN_DIR``: who waits where in a job that hangs or has died, and who is missing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from megatron_fugaku.atomic_file import write_text_atomically
from megatron_fugaku.errors import DataError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    from megatron_fugaku.flight.stuck import MIN_WAIT_S

    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR",
                        help="folder of the run, or the one that MFUGAKU_COMM_FLIGHT_DIR named")
    parser.add_argument("--min-wait", type=float, default=MIN_WAIT_S, metavar="S",
                        help=f"name only what has been waited for so many seconds (default: {MIN_WAIT_S:g})")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="also write the recorded operations as a Chrome trace, for ui.perfetto.dev")


def run(args: argparse.Namespace) -> int:
    """Print one sentence per stuck group; return 1 when there is one, else 0."""
    from megatron_fugaku.flight import build_flight_trace, explain_stuck, load_flight

    records = load_flight(args.run_dir)
    sentences = explain_stuck(records, args.min_wait)
    for sentence in sentences:
        print(sentence)
    if not sentences:
        print(f"nothing has been waited for {args.min_wait:g} s or more on the {len(records)} of "
              f"{records[0].num_ranks} ranks that left a record")
    if args.trace is not None:
        try:
            write_text_atomically(args.trace, json.dumps(build_flight_trace(records)) + "\n")
        except OSError as error:
            raise DataError(f"{args.trace} cannot be written: {error.strerror}", "the trace is not kept",
                            "choose another path", "--trace") from error
        print(f"trace: {args.trace}")
    return 1 if sentences else 0
