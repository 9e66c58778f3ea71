"""``mfugaku report``: the HTML report of a run folder, and its timeline as a trace."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mfugaku report``."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder that a run wrote")
    parser.add_argument("--output", type=Path, metavar="FILE", help="HTML file to write (default: RUN_DIR/report.html)")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="also write the recorded timeline as a Chrome trace, for ui.perfetto.dev")


def run(args: argparse.Namespace) -> int:
    """Write the report; return 0."""
    from megatron_fugaku.report import load_metrics, save_report, save_trace

    path = save_report(args.run_dir, args.output)
    repeats = load_metrics(args.run_dir).explain_repeats()
    if repeats:
        print(repeats)
    print(f"report: {path}")
    if args.trace is not None:
        print(f"trace:  {save_trace(args.run_dir, args.trace)}")
    return 0
