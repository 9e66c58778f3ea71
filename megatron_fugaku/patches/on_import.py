"""Applies patches at the moment their module is first loaded: for what upstream decides while it is imported, and for
programs that import when they like."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType

from megatron_fugaku.patches.apply import apply_patch, make_module
from megatron_fugaku.patches.patch import Patch
from megatron_fugaku.patches.table import PATCHES, TRAINING_PATCHES
from megatron_fugaku.patches.upstreams import MEGATRON_CORE, is_checkout, root_of_file, upstreams_at


class _PatchingLoader(importlib.abc.Loader):
    """Loads a module with its own loader, then applies the patches of it."""

    def __init__(self, loader: importlib.abc.Loader, patches: Sequence[Patch]):
        self._loader, self._patches = loader, patches

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module shall look as if loaded without us: its source is asked for by digests and tracebacks.
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        for patch in self._patches:
            apply_patch(patch)


class _MakingLoader(importlib.abc.Loader):
    """Makes the module of a patch in place of one that cannot be loaded."""

    def __init__(self, patch: Patch):
        self._patch = patch

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return make_module(self._patch)

    def exec_module(self, module: ModuleType) -> None:
        """What a patch makes is complete."""


class _PatchingFinder(importlib.abc.MetaPathFinder):
    """Finds the modules that have patches, and nothing else."""

    def __init__(self, patches: Iterable[Patch]):
        self._patches: dict[str, list[Patch]] = {}
        self.add(patches)

    def add(self, patches: Iterable[Patch]) -> None:
        """Look after these patches too."""
        for patch in patches:
            of_module = self._patches.setdefault(patch.target_module, [])
            if patch not in of_module:
                of_module.append(patch)

    def find_spec(self, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        candidates = self._patches.get(name, [])
        for patch in candidates:
            if patch.makes_module and patch.is_needed() and patch.is_present():
                return importlib.machinery.ModuleSpec(name, _MakingLoader(patch), is_package=path is None)
        patches = [patch for patch in candidates if not patch.makes_module]
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if patches else None
        if spec is None or spec.loader is None:
            return None
        patches = [patch for patch in patches if patch.is_needed() and _is_of(patch, spec)]
        if patches:
            spec.loader = _PatchingLoader(spec.loader, patches)
        return spec


def _is_of(patch: Patch, spec: importlib.machinery.ModuleSpec) -> bool:
    """Whether a module belongs to the upstream of a patch: Megatron-DeepSpeed has modules of megatron-core's names."""
    if not is_checkout(patch.distribution) and patch.distribution != MEGATRON_CORE:
        return True
    return patch.distribution in upstreams_at(root_of_file(spec.name, spec.origin))


def prepare_imports() -> None:
    """Let the patches of phase ``import`` act when their modules are loaded. Call it before upstream is imported;
    where a module is there already, :func:`megatron_fugaku.patches.apply` still applies them to what comes after.
    Idempotent."""
    _prepare(patch for patch in TRAINING_PATCHES if patch.phase == "import")


def patch_on_import(patches: Iterable[Patch] = PATCHES) -> None:
    """Apply every patch when its module is loaded, or now where it is loaded already. Idempotent.

    Raises:
        PatchError: a patch does not fit a module that is loaded; see :func:`megatron_fugaku.patches.apply`.
    """
    patches = list(patches)
    _prepare(patches)
    for patch in patches:
        module = sys.modules.get(patch.target_module)
        if module is None or patch.makes_module or not patch.is_needed():
            continue
        if module.__spec__ is None or module.__spec__.origin is None or _is_of(patch, module.__spec__):
            apply_patch(patch)


def _prepare(patches: Iterable[Patch]) -> None:
    patches = tuple(patches)
    for finder in sys.meta_path:
        if isinstance(finder, _PatchingFinder):
            finder.add(patches)
            return
    sys.meta_path.insert(0, _PatchingFinder(patches))
