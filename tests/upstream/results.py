"""Puts what ``run_upstream.py`` kept in a folder into one file of this repository, and back.

    python tests/upstream/results.py pack megatron_lm --results FOLDER
    python tests/upstream/results.py unpack megatron_lm --results FOLDER

The first writes megatron_lm.json.xz and megatron_lm.md; behind the second ``run_upstream.py`` goes on from there.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from upstream.render_table import read_results, render  # noqa: E402
from upstream.reports import Report  # noqa: E402

TITLES = {"megatron_lm": "Megatron-LM core_v0.16.1, its unit tests", "deepspeed": "DeepSpeed, its unit tests"}

Results = dict[int, dict[str, Report]]
#: Of paths where machines have their users, programs and scratch, all but the last part.
_FOLDERS = re.compile(r"(?:(?<=\\n)|(?<![\w.:/]))/(?:home|root|srv|tmp|usr|var|work)/(?:[\w.+@-]+/)*")


def find_archive(upstream: str) -> Path:
    """Return where the repository keeps what became of an upstream's tests."""
    return HERE / f"{upstream}.json.xz"


def read_archive(upstream: str) -> Results:
    """Return what the repository keeps of an upstream: reports by number of ranks and folder of the tests."""
    ranks = json.loads(lzma.decompress(find_archive(upstream).read_bytes()))
    return {int(number): {folder: Report.from_dict(report) for folder, report in folders.items()}
            for number, folders in ranks.items()}


def write_archive(upstream: str, results: Results) -> None:
    """Keep results in the repository, without the folders that only this machine has."""
    ranks = {number: {folder: asdict(report) for folder, report in folders.items()}
             for number, folders in results.items()}
    text = _FOLDERS.sub("", json.dumps(ranks, indent=0, sort_keys=True))
    find_archive(upstream).write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def render_page(upstream: str, results: Results) -> str:
    """Return the table of an upstream, below its notes."""
    return render(TITLES[upstream], results, (HERE / f"{upstream}.notes.md").read_text(encoding="utf-8"))


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("pack", "unpack"))
    parser.add_argument("upstream", choices=sorted(TITLES))
    parser.add_argument("--results", type=Path, required=True, help="folder of run_upstream.py")
    arguments = parser.parse_args()
    if arguments.action == "unpack":
        for number, folders in read_archive(arguments.upstream).items():
            for folder, report in folders.items():
                report.write(arguments.results / f"ranks_{number}" / f"{folder.replace('/', '.')}.json")
        return 0
    results = read_results(arguments.results)
    if not results:
        print(f"{arguments.results} has no results, so there is nothing to keep: run run_upstream.py first",
              file=sys.stderr)
        return 2
    write_archive(arguments.upstream, results)
    page = render_page(arguments.upstream, read_archive(arguments.upstream))
    (HERE / f"{arguments.upstream}.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
