"""Applies patches at the moment their module is first loaded, for what upstream decides while it is imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType

from megatron_fugaku.patches.apply import apply_patch
from megatron_fugaku.patches.patch import Patch
from megatron_fugaku.patches.table import PATCHES


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


class _PatchingFinder(importlib.abc.MetaPathFinder):
    """Finds the modules that have patches of phase ``import``, and nothing else."""

    def __init__(self, patches: Iterable[Patch]):
        self._patches: dict[str, list[Patch]] = {}
        for patch in patches:
            self._patches.setdefault(patch.target.partition(":")[0], []).append(patch)

    def find_spec(self, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self._patches:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _PatchingLoader(spec.loader, self._patches[name])
        return spec


def prepare_imports() -> None:
    """Let the patches of phase ``import`` act when their modules are loaded. Call it before upstream is imported;
    where a module is there already, :func:`megatron_fugaku.patches.apply` still applies them to what comes after.
    Idempotent."""
    if not any(isinstance(finder, _PatchingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PatchingFinder(patch for patch in PATCHES if patch.phase == "import"))
