"""Functions that stand where upstream has some that cannot be had here, or are not needed."""

from __future__ import annotations

from collections.abc import Callable
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
