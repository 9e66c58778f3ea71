"""Functions that stand where upstream imports some that cannot be had here, and say so when they are called."""

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
