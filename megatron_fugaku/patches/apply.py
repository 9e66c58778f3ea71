"""Applies the patches of the table, once, and keeps the ledger of what was done."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from megatron_fugaku import environment
from megatron_fugaku.errors import PatchError
from megatron_fugaku.patches.patch import Patch, resolve
from megatron_fugaku.patches.table import PATCHES, TRAINING_PATCHES


@dataclass(frozen=True)
class LedgerEntry:
    """What happened to one patch: goes into the manifest of a run."""

    id: str
    target: str
    kind: str
    distribution: str
    version: str
    digest: str
    drifted: bool
    rebound: tuple[str, ...]


_ledger: dict[str, LedgerEntry] = {}
_originals: dict[str, Any] = {}


class PatchDriftWarning(UserWarning):
    """Upstream's source differs from every version a patch was written against."""


def _rebind_importers(original: Any, replacement: Any, target_module: str) -> tuple[str, ...]:
    """Give the replacement to modules that did ``from x import name`` before us: upstream's own, ours, a script's."""
    roots = {target_module.partition(".")[0], "megatron_fugaku", "__main__"}
    rebound = []
    for name, module in list(sys.modules.items()):
        if module is None or name.partition(".")[0] not in roots or name.startswith("megatron_fugaku.patches"):
            continue
        for attribute, value in list(vars(module).items()):
            if value is original:
                setattr(module, attribute, replacement)
                rebound.append(f"{name}:{attribute}")
    return tuple(rebound)


def _check_version(patch: Patch) -> str:
    """Return the version of what is to be patched.

    Raises:
        PatchError: it is not installed, or the patch is not for it.
    """
    version = patch.installed_version()
    if not patch.supports(version):
        raise PatchError(f"{patch.distribution} {version} is installed, patch {patch.id} is for {patch.upstream}",
                         f"without it {patch.reason[0].lower()}{patch.reason[1:]}",
                         f"pip install '{patch.distribution}{patch.upstream}'", patch.id)
    return version


def _check_fits(patch: Patch, original: Any) -> tuple[str, str, bool]:
    """Return version and digest of what is to be patched, and whether nobody has read that source.

    Raises:
        PatchError: see :func:`apply_patch`.
    """
    version = _check_version(patch)
    found = patch.current_digest(original)
    drifted = not patch.knows(version, found)
    if drifted:
        message = (f"{patch.digest_of or patch.target} of {patch.distribution} {version} has the unknown digest "
                   f"{found[:12]}", f"patch {patch.id} was written against {', '.join(patch.source) or 'no version'}",
                   "read the change, then add the digest to patches/digests.py", patch.id)
        if environment.get("MFUGAKU_STRICT_PATCHES"):
            raise PatchError(*message)
        warnings.warn(str(PatchError(*message)), PatchDriftWarning, stacklevel=3)
    return version, found, drifted


def _enter(patch: Patch, version: str, found: str, drifted: bool, rebound: tuple[str, ...] = ()) -> LedgerEntry:
    _ledger[patch.id] = LedgerEntry(patch.id, patch.target, patch.kind, patch.distribution, version, found, drifted,
                                    rebound)
    return _ledger[patch.id]


def make_module(patch: Patch) -> ModuleType:
    """Return the module that a patch makes, and enter the patch in the ledger.

    Raises:
        PatchError: see :func:`apply_patch`.
    """
    fit = _check_fits(patch, None)
    module = patch.build(None)
    _enter(patch, *fit)
    return module


def apply_patch(patch: Patch) -> LedgerEntry:
    """Apply one patch of something that exists; a second call does nothing.

    Raises:
        PatchError: the target does not exist, the version is not supported, or (with MFUGAKU_STRICT_PATCHES) the
            source is not one the patch was written against.
    """
    if patch.id in _ledger:
        return _ledger[patch.id]
    _check_version(patch)  # before the target is imported
    owner, name = resolve(patch.target)
    static = inspect.getattr_static(owner, name)
    is_bound_otherwise = isinstance(static, staticmethod | classmethod)
    original = static.__func__ if is_bound_otherwise else static
    fit = _check_fits(patch, original)
    replacement = patch.build(original)
    setattr(owner, name, type(static)(replacement) if is_bound_otherwise else replacement)
    target_module = patch.target_module
    # A name that the target module itself only imported stays as it is everywhere else.
    is_defined_there = owner is sys.modules[target_module] and getattr(original, "__module__", "") == target_module
    rebound = _rebind_importers(original, replacement, target_module) if is_defined_there else ()
    _originals[patch.id] = original
    return _enter(patch, *fit, rebound)


def apply(patches: Iterable[Patch] = TRAINING_PATCHES) -> list[LedgerEntry]:
    """Apply every patch that is needed, in order; idempotent. Return their ledger entries. Modules that cannot be
    loaded are made when they are imported, see :mod:`.on_import`.

    Raises:
        PatchError: see :func:`apply_patch`.
    """
    return [apply_patch(patch) for patch in patches if not patch.makes_module and patch.is_needed()]


def ledger() -> list[dict[str, Any]]:
    """Return what was applied in this process, for the manifest of a run."""
    return [asdict(entry) for entry in _ledger.values()]


@dataclass(frozen=True)
class PatchStatus:
    """How one patch fits what is installed: ``fits``, ``drifted``, ``broken``, or ``absent`` where there is nothing to
    patch, as of a checkout that this process cannot import; and the sentence that says why."""

    id: str
    status: str
    version: str
    digest: str
    detail: str


def check(patches: Iterable[Patch] = PATCHES) -> list[PatchStatus]:
    """Compare every patch with what is installed, without applying any."""
    return [_status(patch) for patch in patches]


def _status(patch: Patch) -> PatchStatus:
    if patch.group == "scripts" and not patch.is_present():
        return PatchStatus(patch.id, "absent", "", "", f"no {patch.distribution} on the import path")
    if patch.is_present() and not patch.is_applicable():
        return PatchStatus(patch.id, "absent", patch.installed_version(), "", f"needed {patch.span}")
    version = found = ""
    try:
        version = patch.installed_version()
        original = None
        if not patch.makes_module:
            owner, name = resolve(patch.target)
            static = inspect.getattr_static(owner, name)
            original = _originals.get(patch.id, getattr(static, "__func__", static))
        found = patch.current_digest(original)
    except PatchError as error:
        return PatchStatus(patch.id, "broken", version, found, str(error))
    return judge(patch, version, found)


def judge(patch: Patch, version: str, found: str) -> PatchStatus:
    """Return how a patch fits a version whose source has the digest ``found``."""
    if not patch.supports(version):
        return PatchStatus(patch.id, "broken", version, found, f"written for {patch.upstream}")
    if not patch.knows(version, found):
        return PatchStatus(patch.id, "drifted", version, found, f"known: {', '.join(patch.source)}")
    return PatchStatus(patch.id, "fits", version, found, "")


def run_checks(patches: Iterable[Patch] = PATCHES) -> dict[str, str]:
    """Run the self-checks of applied patches; return what is wrong, by patch id."""
    wrong = {}
    for patch in patches:
        if patch.check and patch.id in _ledger:
            owner, name = resolve(patch.check)
            answer = getattr(owner, name)()
            if answer:
                wrong[patch.id] = answer
    return wrong
