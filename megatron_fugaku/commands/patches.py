"""``mfugaku patches list | explain ID | check | digests``."""

from __future__ import annotations

import argparse
import textwrap

from megatron_fugaku import patches
from megatron_fugaku.errors import PatchError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="one line for each patch")
    explain = actions.add_parser("explain", help="everything about one patch")
    explain.add_argument("id")
    actions.add_parser("digests", help="the digests of what is installed, as patches/digests.py holds them")
    actions.add_parser("check", help="compare every patch with the installed versions; exit code 5 if one does not fit")


def _explain(patch_id: str) -> int:
    patch = next((patch for patch in patches.PATCHES if patch.id == patch_id), None)
    if patch is None:
        raise PatchError(f"there is no patch {patch_id!r}", "only declared patches are applied",
                         f"choose one of {', '.join(patch.id for patch in patches.PATCHES)}", patch_id)
    for name in ("id", "kind", "target", "make", "distribution", "upstream", "upstream_ref", "reason", "remove_when"):
        print(textwrap.fill(f"{name + ':':<14}{getattr(patch, name)}", 110, subsequent_indent=" " * 14))
    for version, digest in patch.source.items():
        print(f"{'source:':<14}{version} {digest}")
    return 0


def run(args: argparse.Namespace) -> int:
    """Print the table, a patch, or how the patches fit."""
    if args.action == "explain":
        return _explain(args.id)
    if args.action == "list":
        for patch in patches.PATCHES:
            print(f"{patch.id:<34} {patch.kind:<8} {patch.target}")
        return 0
    statuses = patches.check()
    if args.action == "digests":
        for status in statuses:
            print(f'    "{status.id}": {{"{status.version}": "{status.digest}"}},')
        return 0
    for status in statuses:
        line = f"{status.id:<34} {status.status:<8} {status.version:<8} {status.digest[:12]:<12} {status.detail}"
        print(line.rstrip())
    misfits = [status for status in statuses if status.status != "fits"]
    print(f"{len(statuses) - len(misfits)} of {len(statuses)} patches fit")
    return PatchError.exit_code if misfits else 0
