"""``mfugaku patches list | explain ID | check [--against PATH] | digests [--against PATH]``."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from megatron_fugaku import patches
from megatron_fugaku.errors import PatchError
from megatron_fugaku.patches.against import check_against, versions_at
from megatron_fugaku.patches.cuda_scan import files_to_scan, scan_cuda_names


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="one line for each patch")
    explain = actions.add_parser("explain", help="everything about one patch")
    explain.add_argument("id")
    digests = actions.add_parser("digests", help="the digests of what is installed, as patches/digests.py holds them")
    check = actions.add_parser("check", help="compare every patch with the installed versions; exit code 5 if one does "
                               "not fit")
    for action in (digests, check):
        action.add_argument("--against", metavar="PATH", type=Path,
                            help="compare with a checkout or a site-packages folder instead, read as text")


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


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as GitHub renders it, its columns aligned."""
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    lines = [titles, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
                     for line in lines)


def _check_against(root: Path) -> int:
    if not root.is_dir():
        raise PatchError(f"there is no folder {root}", "there is nothing to compare patches with",
                         "give a checkout or a site-packages folder", "--against")
    root = root.resolve()
    statuses = check_against(root, patches.PATCHES)
    patched = {patch.distribution for patch in patches.PATCHES}
    versions = {name: version for name, version in versions_at(root).items() if name in patched}
    print(", ".join(f"{name} {version}" for name, version in sorted(versions.items())), end="\n\n")
    print(_table(("patch", "status", "version", "digest", "detail"),
                 [(fit.id, fit.status, fit.version, fit.digest[:12], fit.detail) for fit in statuses]))
    names = scan_cuda_names(files_to_scan(root, versions), patches.PATCHES, root)
    remaining = [name for name in names if name.answer == "none"]
    if remaining:
        print("\nCUDA only, answered by nothing here: a program that reaches it is told so.\n")
        print(_table(("name", "uses", "first"),
                     [(name.name, str(name.num_uses), name.first_use) for name in remaining]))
    answered = len(names) - len(remaining)
    misfits = [status for status in statuses if status.status != "fits"]
    print(f"\n{len(statuses) - len(misfits)} of {len(statuses)} patches fit; of {len(names)} names of CUDA, {answered} "
          f"are answered or optional, {len(remaining)} need a GPU")
    return PatchError.exit_code if misfits else 0


def run(args: argparse.Namespace) -> int:
    """Print the table, a patch, or how the patches fit."""
    if args.action == "explain":
        return _explain(args.id)
    if args.action == "list":
        for patch in patches.PATCHES:
            print(f"{patch.id:<34} {patch.kind:<8} {patch.target}")
        return 0
    if args.action == "check" and args.against is not None:
        return _check_against(args.against)
    statuses = patches.check() if args.against is None else check_against(args.against, patches.PATCHES)
    if args.action == "digests":
        for status in statuses:
            if status.digest:
                print(f'    "{status.id}": {{"{status.version}": "{status.digest}"}},')
        return 0
    for status in statuses:
        line = f"{status.id:<34} {status.status:<8} {status.version:<10} {status.digest[:12]:<12} {status.detail}"
        print(line.rstrip())
    present = [status for status in statuses if status.status != "absent"]
    misfits = [status for status in present if status.status != "fits"]
    num_absent = len(statuses) - len(present)
    print(f"{len(present) - len(misfits)} of {len(present)} patches fit"
          + (f", {num_absent} are for what is not there, as checkouts: --against PATH" if num_absent else ""))
    return PatchError.exit_code if misfits else 0
