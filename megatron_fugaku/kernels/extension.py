"""Loads the compiled operators, or says once that torch's own run instead."""

from __future__ import annotations

import functools
import sysconfig
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.kernels.implementations import (
    BF16_NATIVE,
    FP16_NATIVE,
    KERNEL,
    NATIVE,
    OPERATORS,
    explain_implementation,
    prefers_kernel,
    set_implementations,
)
from megatron_fugaku.native_library import BUILD_HERE, explain_foreign_build, load_library
from megatron_fugaku.processor import has_bfloat16_products, has_float16_arithmetic

_NAME = "megatron_fugaku.kernels._ops"
_WHAT = "the library of compiled kernels"
_VARIABLE = "MFUGAKU_KERNELS"

#: What the kernels compute with; the gradients of anything else are torch's.
DTYPES = frozenset((torch.float32, torch.bfloat16, torch.float16))


@dataclass(frozen=True)
class KernelChoice:
    """Which instruction set one family of kernels runs on here, and why."""

    op: str
    isa: str
    reason: str


# Called by the kernels between two tiles; its address, 0 for none.
_between_tiles = 0


def call_between_tiles(function: int) -> None:
    """Let the kernels, now or when they will be loaded, call a C function without arguments between two tiles.

    Args:
        function: its address; 0: none. It is called by any of torch's threads, by several at a time, and must not wait.
    """
    global _between_tiles
    _between_tiles = function
    if load_operators.cache_info().currsize and load_operators() is not None:
        torch.ops.mfugaku.call_between_tiles(function)


def _library() -> Path:
    return Path(__file__).with_name(f"_ops{sysconfig.get_config_var('EXT_SUFFIX')}")


@functools.cache
def load_operators() -> ModuleType | None:
    """Return ``torch.ops.mfugaku``; None, with one warning, when the extension was not built.

    Raises:
        EnvironmentError: the extension does not load here, or MFUGAKU_KERNELS asks for what cannot be had.
    """
    path = _library()
    if not path.exists():
        foreign = explain_foreign_build(_WHAT, path.parent, "_ops", _NAME)
        if foreign is not None:
            raise foreign
        warnings.warn(f"{_WHAT} was not built, so torch's own operators run in its place, which are slower. "
                      f"Build it: {BUILD_HERE}", RuntimeWarning, stacklevel=2)
        return None
    load_library(_WHAT, path, lambda: torch.ops.load_library(path), _NAME)
    operators = torch.ops.mfugaku
    try:
        operators.kernel_choices()
    except RuntimeError as error:
        raise _explain_choice(str(error)) from error
    operators.call_between_tiles(_between_tiles)
    return operators


def _explain_choice(text: str) -> Exception:
    line = next((line for line in text.splitlines() if f"[{_VARIABLE}]" in line), None)
    if line is None:
        return RuntimeError(text)
    what, why, fix = line.partition(f" [{_VARIABLE}]")[0].split(". ", 2)
    return EnvironmentError(what, why, fix, _VARIABLE)


def describe_kernels() -> list[KernelChoice]:
    """Return the choice for every family of kernels; empty when the extension was not built.

    Raises:
        EnvironmentError: see :func:`load_operators`.
    """
    operators = load_operators()
    if operators is None:
        return []
    return [KernelChoice(*line.split("\t")) for line in operators.kernel_choices().splitlines()]


#: The family of kernels behind an operator, where it has another name.
_FAMILIES = {"cast": "reduce", "embedding": "reduce", "grad_norm": "reduce", "matmul": "gemm"}


def choose_implementations(kernels: Mapping[str, str]) -> None:
    """Choose between kernels and torch for this process, as ``kernels`` of a configuration says.

    Args:
        kernels: see :func:`.implementations.set_implementations`.

    Raises:
        EnvironmentError: a kernel is asked for by name and was not built, or arithmetic that this CPU has not; see also
            :func:`load_operators`.
    """
    wanted = sorted(operator for operator, implementation in kernels.items()
                    if implementation in (KERNEL, *NATIVE))
    if wanted and load_operators() is None:
        raise EnvironmentError(f"kernels.{wanted[0]} is {kernels[wanted[0]]!r}, and {_WHAT} was not built",
                               "torch's own operators would run in its place", f"build it: {BUILD_HERE}; or leave auto",
                               f"kernels.{wanted[0]}")
    products = kernels.get("matmul")
    lacks = {FP16_NATIVE: not has_float16_arithmetic() and "float16 arithmetic",
             BF16_NATIVE: not has_bfloat16_products() and "BF16 instructions"}.get(products)
    if lacks:
        raise EnvironmentError(f"kernels.matmul is {products!r}, and this CPU has no {lacks}",
                               "float32 would stand in for them, which is many times slower than float32 sums",
                               "leave auto", "kernels.matmul")
    set_implementations(kernels)


def explain_implementations(precision: str) -> dict[str, str]:
    """Return what runs for each operator in a run of a precision, ``fp32`` or ``bf16``, and why.

    Raises:
        EnvironmentError: see :func:`load_operators`.
    """
    isa_of = {choice.op: choice.isa for choice in describe_kernels()}
    dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    return {operator: explain_implementation(operator, dtype, isa_of.get(_FAMILIES.get(operator, operator)))
            for operator in OPERATORS}


def define_operator(name: str, fake: Callable[..., Any], backward: Callable[..., Any] | None = None,
                    setup_context: Callable[..., None] | None = None) -> Callable[..., Any] | None:
    """Give a compiled operator what torch needs beside its kernel, and return it; None without the extension.

    Args:
        name: as registered in C++, without the namespace.
        fake: returns empty tensors of the results' shapes, dtypes and strides for the operator's arguments.
        backward, setup_context: as torch.library.register_autograd takes them.
    """
    operators = load_operators()
    if operators is None:
        return None
    torch.library.register_fake(f"mfugaku::{name}", fake)
    if backward is not None:
        torch.library.register_autograd(f"mfugaku::{name}", backward, setup_context=setup_context)
    return getattr(operators, name).default


def runs_kernel(operator: str, x: torch.Tensor, *others: torch.Tensor | None) -> bool:
    """Return whether the kernel of an operator is for these tensors, and was not chosen against: they are on the CPU,
    of one dtype of :data:`DTYPES`."""
    return x.dtype in DTYPES and x.device.type == "cpu" and all(
        other is None or (other.dtype == x.dtype and other.device == x.device) for other in others) and prefers_kernel(
            operator, str(x.dtype).removeprefix("torch."))


def fake_like(x: torch.Tensor) -> torch.Tensor:
    """Return an empty contiguous tensor of the shape and dtype of ``x``."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def sum_over_rows(gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradient of a bias over the last dimension, [..., H] to [H], from that of what it was added to."""
    return gradient.reshape(-1, gradient.shape[-1]).sum(0)
