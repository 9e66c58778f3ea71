"""``mfugaku data``: corpus, tokenizer and tokens from one recipe."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml", help="what to read and what to make of it")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="corpus, tokenizer, tokens; all where none is named")
    parser.add_argument("--output", type=Path, help="folder to write; runs/data/<name of the recipe> if not given")
    parser.add_argument("--workers", type=int, default=None, help="worker processes; one per CPU if not given")
    parser.add_argument("--verify", action="store_true", help="only check the files of an existing folder")
    _allow_stages_after_options(parser)


def _allow_stages_after_options(parser: argparse.ArgumentParser) -> None:
    """Let ``RECIPE --output DIR tokens`` be read; argparse only does in its intermixed mode, which subparsers lack."""
    plain = parser.parse_known_args

    def parse(args=None, namespace=None):
        parser.parse_known_args = plain  # the intermixed mode calls it itself
        try:
            return parser.parse_known_intermixed_args(args, namespace)
        finally:
            parser.parse_known_args = parse

    parser.parse_known_args = parse


def run(args: argparse.Namespace) -> int:
    """Run the stages, print the summary.

    Raises:
        DataError: see :func:`megatron_fugaku.data.pipeline.run_pipeline`.
    """
    from megatron_fugaku.data.manifest import verify_manifest
    from megatron_fugaku.data.pipeline import STAGES, render_summary, run_pipeline
    from megatron_fugaku.data.recipe import load_recipe
    from megatron_fugaku.environment import get
    from megatron_fugaku.errors import DataError

    unknown = [stage for stage in args.stages if stage not in STAGES]
    if unknown:
        raise DataError(f"no stage is named {unknown[0]!r}", "", f"stages are: {', '.join(STAGES)}", "STAGE")
    if args.workers is not None and args.workers < 1:
        raise DataError(f"--workers is {args.workers}", "someone has to do the work", "give 1 or more", "--workers")
    recipe = load_recipe(args.recipe)
    output = args.output or Path("runs/data") / recipe.name
    if args.verify:
        manifest = verify_manifest(output)
        print(f"{len(manifest.files)} files of {output} are as they were written")
        return 0
    cache = Path(get("MFUGAKU_CACHE")).expanduser()
    manifest = run_pipeline(recipe, output, args.stages or STAGES, cache=cache, num_workers=args.workers)
    if manifest is not None:
        print(render_summary(manifest))
    return 0
