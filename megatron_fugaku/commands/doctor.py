"""``mfugaku doctor [--json PATH]``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from megatron_fugaku.errors import EnvironmentError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the one option."""
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the findings as JSON; - prints them "
                        "as JSON in place of the table")


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 0 when training is possible, else 3."""
    from megatron_fugaku.launch.doctor import describe_findings, examine, is_training_possible, render_findings

    findings = examine()
    text = json.dumps(describe_findings(findings), indent=2, ensure_ascii=False) + "\n"
    if args.json == Path("-"):
        print(text, end="")
    else:
        print(render_findings(findings))
        if args.json is not None:
            temporary = args.json.with_name(f".{args.json.name}.{os.getpid()}")
            try:
                temporary.write_text(text, encoding="utf-8")
                os.replace(temporary, args.json)
            except OSError as error:
                raise EnvironmentError(f"{args.json} cannot be written: {error.strerror}", "the findings are lost",
                                       "choose another path", "--json") from error
    return 0 if is_training_possible(findings) else EnvironmentError.exit_code
