"""Functions that stand where upstream has some that cannot be had here, or are not needed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from megatron_fugaku.errors import PatchError


def absent_function(name: str, what: str, fix: str) -> Callable:
    """Return a function that says why it cannot do what it is called for."""

    def absent(*args: Any, **kwargs: Any) -> NoReturn:
        raise PatchError(f"{name} was called, but {what}", "a stand-in is there only so that the program can be loaded",
                         fix, name)

    absent.__name__ = name.rpartition(".")[2]
    return absent


def build_nothing(original: Callable) -> Callable:
    """Patch maker: a function that does nothing, for what only a GPU needs: one of several devices or streams to be
    chosen, to be waited for or to be profiled, kernels to be built, a compiler to be warmed up."""

    def nothing(*args: Any, **kwargs: Any) -> None:
        """Nothing is needed."""

    return nothing


def build_paged_stash(original: None) -> ModuleType:
    """Return ``megatron.core.transformer.moe.paged_stash`` for machines without Triton, of which its kernels are. Every
    schedule and model imports it, and uses it with ``moe_paged_stash``."""
    name = "megatron.core.transformer.moe.paged_stash"
    module = ModuleType(name)
    for function in ("PagedStashRunner", "get_paged_stash_context", "paged_stash_group_commit",
                     "paged_stash_group_start", "paged_stash_init_chunk_handler", "paged_stash_reset"):
        setattr(module, function, absent_function(f"{name}.{function}", "its kernels need Triton and a GPU",
                                                  "leave moe_paged_stash out"))
    return module
