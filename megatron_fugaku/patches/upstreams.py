"""Which upstream a process imports: installed from an index, or a checkout on the import path; and its version.

Megatron-LM and Megatron-DeepSpeed are cloned, not installed, and both bring a package ``megatron`` that stands before
an installed megatron-core. What is at hand is told from files, without importing anything.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.metadata
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE_INFO = Path("megatron/core/package_info.py")


@dataclass(frozen=True)
class Checkout:
    """An upstream that has no package.

    Attributes:
        markers: files that it has and its relatives have not.
        commits: versions, written as the day of the commit, of the commits that are known.
        repository: where it is cloned from.
    """

    markers: tuple[str, ...]
    repository: str
    commits: dict[str, str] = field(default_factory=dict)


CHECKOUTS: dict[str, Checkout] = {
    "Megatron-DeepSpeed": Checkout(
        ("megatron/global_vars.py", "megatron/model/transformer.py"), "https://github.com/deepspeedai/Megatron-DeepSpeed",
        {"4efb479d5317ce9b86096b9d8e3e8030b0b5263b": "2025.7.16"}),
    # Its version is that of the megatron-core it holds.
    "Megatron-LM": Checkout(("megatron/training/arguments.py", str(PACKAGE_INFO)),
                            "https://github.com/NVIDIA/Megatron-LM"),
}
MEGATRON_CORE = "megatron-core"
#: A version that nobody has read: its sources decide, by their digests.
UNKNOWN = "unknown"


def is_checkout(distribution: str) -> bool:
    """Say whether a patched upstream is cloned rather than installed."""
    return distribution in CHECKOUTS


def _git_folder(root: Path) -> Path | None:
    git = root / ".git"
    if git.is_file():  # a work tree: "gitdir: PATH"
        return root / git.read_text(encoding="utf-8").partition(":")[2].strip()
    return git if git.is_dir() else None


def read_commit(root: Path) -> str:
    """Return the commit that is checked out at ``root``, or "" where git does not say. Runs no program: on a large
    machine each rank asks."""
    git = _git_folder(root)
    if git is None:
        return ""
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return head
        reference = head.partition(":")[2].strip()
        common = git / (git / "commondir").read_text(encoding="utf-8").strip() if (git / "commondir").exists() else git
        for folder in (git, common):
            if (folder / reference).is_file():
                return (folder / reference).read_text(encoding="utf-8").strip()
        packed = (common / "packed-refs").read_text(encoding="utf-8")
        found = re.search(rf"^([0-9a-f]{{40}}) {re.escape(reference)}$", packed, re.M)
        return found[1] if found else ""
    except OSError:
        return ""


def _core_version(root: Path) -> str:
    """The version that megatron-core says of itself, such as ``0.16.1`` or ``0.14.0rc7``."""
    text = (root / PACKAGE_INFO).read_text(encoding="utf-8")
    numbers = [re.search(rf"^{name} *= *(\d+)", text, re.M) for name in ("MAJOR", "MINOR", "PATCH")]
    suffix = re.search(r"^PRE_RELEASE *= *['\"](\w*)['\"]", text, re.M)
    if None in numbers:
        return UNKNOWN
    return ".".join(number[1] for number in numbers) + (suffix[1] if suffix else "")


@functools.lru_cache
def upstreams_at(root: Path) -> dict[str, str]:
    """Return the upstreams whose package ``megatron`` stands in the folder ``root``: distribution to version."""
    if all((root / marker).is_file() for marker in CHECKOUTS["Megatron-DeepSpeed"].markers):
        # Its megatron.core is a relative of megatron-core, changed for DeepSpeed: no patch of that fits here.
        commit = read_commit(root)
        return {"Megatron-DeepSpeed": CHECKOUTS["Megatron-DeepSpeed"].commits.get(commit, commit[:8] or UNKNOWN)}
    if not (root / PACKAGE_INFO).is_file():
        return {}
    version = _core_version(root)
    found = {MEGATRON_CORE: version}
    if all((root / marker).is_file() for marker in CHECKOUTS["Megatron-LM"].markers):
        found["Megatron-LM"] = version
    return found


def root_of_file(module: str, file: str) -> Path:
    """Return the folder on the import path from which ``module`` was found in ``file``."""
    parents = module.count(".") + (Path(file).name == "__init__.py")
    return Path(file).resolve().parents[parents]


def megatron_roots() -> list[Path]:
    """Return the folders on the import path whose ``megatron`` this process imports, first those that come first. The
    package of Megatron-LM and that of an installed megatron-core are parts of one."""
    module = sys.modules.get("megatron")
    if module is not None:
        locations: Iterable[str] = module.__path__
    else:
        spec = importlib.machinery.PathFinder.find_spec("megatron")
        locations = spec.submodule_search_locations or () if spec else ()
    return [Path(location).resolve().parent for location in locations]


def find_version(distribution: str) -> str | None:
    """Return the version of what this process imports, without a local suffix such as ``+cpu``; None where it has none.
    """
    if is_checkout(distribution) or distribution == MEGATRON_CORE:
        found = (upstreams_at(root).get(distribution) for root in megatron_roots())
        return next((version for version in found if version is not None), None)
    try:
        return importlib.metadata.version(distribution).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None
