"""The C++ helpers that Megatron's data sets compile when a program first runs."""

from __future__ import annotations

import functools
import os
import sysconfig
from collections.abc import Callable
from typing import Any

from megatron_fugaku.errors import EnvironmentError


def make_flags() -> str:
    """Return what tells Megatron's Makefile for which Python to compile: the one that runs.

    Raises:
        EnvironmentError: pybind11 is not installed.
    """
    try:
        import pybind11
    except ImportError as error:
        raise EnvironmentError("pybind11 is not installed", "Megatron compiles the index builder of its data sets with "
                               "it", "pip install 'megatron-fugaku[scripts]'", "pybind11") from error
    includes = " ".join(f"-I{folder}" for folder in (sysconfig.get_path("include"), pybind11.get_include()))
    settings = {"LIBEXT": sysconfig.get_config_var("EXT_SUFFIX"), "CPPFLAGS": includes}
    return " ".join(f"{name}={value}".replace(" ", "\\ ") for name, value in settings.items())


def build_compile_helpers(original: Callable) -> Callable:
    """Return the function that compiles them, for this Python. Upstream asks ``python3-config``, which a virtual
    environment has not: that of another Python answers."""

    @functools.wraps(original)
    def compile_helpers(*args: Any, **kwargs: Any) -> Any:
        before = os.environ.get("MAKEFLAGS")
        os.environ["MAKEFLAGS"] = make_flags()
        try:
            return original(*args, **kwargs)
        finally:
            if before is None:
                del os.environ["MAKEFLAGS"]
            else:
                os.environ["MAKEFLAGS"] = before

    return compile_helpers
