"""Which implementation of each operator runs: a compiled kernel, or the reference in torch's own operators.

``auto`` takes the kernel wherever it was built, except where :data:`TORCH_IS_FASTER` says that torch was measured to be
faster. This module imports no torch, so that a configuration can be checked without it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

#: Every operator that has a choice.
OPERATORS = ("attention", "bias_gelu", "cross_entropy", "dropout", "matmul", "norm", "softmax", "swiglu")

AUTO, KERNEL, REFERENCE = "auto", "kernel", "reference"

#: (operator, machine, dtype) whose kernel loses to torch, by ``mfugaku bench kernels``. On x86-64 torch has MKL.
TORCH_IS_FASTER: frozenset[tuple[str, str, str]] = frozenset({("matmul", "x86_64", "float32")})

_chosen: dict[str, str] = dict.fromkeys(OPERATORS, AUTO)


def set_implementations(kernels: str | Mapping[str, str]) -> None:
    """Choose for this process, as ``kernels`` of a run's configuration says.

    Args:
        kernels: ``auto``, ``reference``, or {operator: ``auto`` | ``kernel`` | ``reference``}; operators that are not
            named keep ``auto``.

    Raises:
        ValueError: an operator or an implementation that there is none of.
    """
    wanted = dict.fromkeys(OPERATORS, kernels) if isinstance(kernels, str) else {**dict.fromkeys(OPERATORS, AUTO),
                                                                                 **kernels}
    for operator, implementation in wanted.items():
        if operator not in OPERATORS:
            raise ValueError(f"there is no operator {operator!r}; there are {', '.join(OPERATORS)}")
        if implementation not in (AUTO, KERNEL, REFERENCE):
            raise ValueError(f"{implementation!r} is none of {AUTO}, {KERNEL}, {REFERENCE}")
    _chosen.update(wanted)


def prefers_kernel(operator: str, dtype: str) -> bool:
    """Return whether the compiled kernel should run, if there is one.

    Args:
        operator: one of :data:`OPERATORS`.
        dtype: torch's name without ``torch.``, such as ``bfloat16``.
    """
    chosen = _chosen[operator]
    return chosen == KERNEL or (chosen == AUTO and (operator, platform.machine(), dtype) not in TORCH_IS_FASTER)


def explain_implementation(operator: str, dtype: str, isa: str | None) -> str:
    """Return what runs for an operator and why, such as ``kernel on avx2 (auto)``.

    Args:
        operator: one of :data:`OPERATORS`.
        dtype: as :func:`prefers_kernel` takes it.
        isa: the instruction set that the kernel was chosen for; None when it was not built.
    """
    if isa is None:
        return f"{REFERENCE} (the kernels were not built)"
    chosen = _chosen[operator]
    if chosen != AUTO:
        return f"{chosen}{f' on {isa}' if chosen == KERNEL else ''} (kernels.{operator})"
    if prefers_kernel(operator, dtype):
        return f"{KERNEL} on {isa} ({AUTO})"
    return f"{REFERENCE} ({AUTO}: torch is faster for {dtype} on {platform.machine()})"
