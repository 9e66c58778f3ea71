"""Which implementation of each operator runs: a compiled kernel, or the reference in torch's own operators.

``auto`` takes the kernel wherever it was built, except where :data:`TORCH_IS_FASTER` says that torch was measured to be
faster. Those of :data:`NATIVE`, of other bits or less accurate, run only where they are asked for. This module imports
no torch, so that a configuration can be checked without it.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from megatron_fugaku.processor import read_cpu_features

#: Every operator that has a choice.
OPERATORS = ("adamw", "attention", "bias_gelu", "cast", "cross_entropy", "dropout", "embedding", "grad_norm", "matmul",
             "norm", "rope", "softmax", "swiglu")

AUTO, KERNEL, REFERENCE = "auto", "kernel", "reference"
#: Products of one dtype by arithmetic of its own, see :mod:`megatron_fugaku.kernels.matmul`; other types have ``auto``.
FP16_NATIVE, BF16_NATIVE = "fp16_native", "bf16_native"
NATIVE = {FP16_NATIVE: "float16", BF16_NATIVE: "bfloat16"}


@dataclass(frozen=True)
class TorchIsFaster:
    """A kernel that loses to torch by ``mfugaku bench kernels --target here``.

    Attributes:
        operator: one of :data:`OPERATORS`.
        dtype: torch's name without ``torch.``.
        machine: as ``platform.machine()`` names it.
        holds_for: whether it does so with these features, see :func:`megatron_fugaku.processor.read_cpu_features`.
        where: in words.
    """

    operator: str
    dtype: str
    machine: str
    holds_for: Callable[[frozenset[str]], bool]
    where: str


#: torch has MKL and oneDNN. MKL was slower on an AMD EPYC with AVX-512 (by 8 to 40 %), faster on AVX2 (by up to 15 %).
#: oneDNN was 1.7 to 2.2 times faster on AMD's AVX512_BF16, and 1.6 times slower on an Intel Xeon's, whose AMX was
#: withheld from the virtual machine; that it is faster on AMX_BF16 is taken for granted, not measured.
TORCH_IS_FASTER = (
    TorchIsFaster("matmul", "float32", "x86_64", lambda cpu: not {"AuthenticAMD", "avx512f"} <= cpu,
                  "x86-64 but AMD's with AVX-512"),
    TorchIsFaster("matmul", "bfloat16", "x86_64",
                  lambda cpu: "amx_bf16" in cpu or {"AuthenticAMD", "avx512_bf16"} <= cpu,
                  "x86-64 with AMX_BF16, or AMD's with AVX512_BF16"),
    *(TorchIsFaster("cast", dtype, "x86_64", lambda cpu: True, "x86-64")
      for dtype in ("float32", "bfloat16", "float16")),
)

_chosen: dict[str, str] = dict.fromkeys(OPERATORS, AUTO)


def set_implementations(kernels: str | Mapping[str, str]) -> None:
    """Choose for this process, as ``kernels`` of a run's configuration says.

    Args:
        kernels: ``auto``, ``reference``, or {operator: ``auto`` | ``kernel`` | ``reference``}; operators that are not
            named keep ``auto``. ``matmul`` may be one of ``NATIVE`` too.

    Raises:
        ValueError: an operator or an implementation that there is none of.
    """
    wanted = dict.fromkeys(OPERATORS, kernels) if isinstance(kernels, str) else {**dict.fromkeys(OPERATORS, AUTO),
                                                                                 **kernels}
    for operator, implementation in wanted.items():
        if operator not in OPERATORS:
            raise ValueError(f"there is no operator {operator!r}; there are {', '.join(OPERATORS)}")
        known = (AUTO, KERNEL, REFERENCE, *(NATIVE if operator == "matmul" else ()))
        if implementation not in known:
            raise ValueError(f"{implementation!r} is none of {', '.join(known)}")
    _chosen.update(wanted)


@functools.cache
def _where_torch_is_faster(operator: str, dtype: str) -> str | None:
    features = read_cpu_features()
    return next((rule.where for rule in TORCH_IS_FASTER
                 if (rule.operator, rule.dtype, rule.machine) == (operator, dtype, platform.machine())
                 and rule.holds_for(features)), None)


def _chosen_for(operator: str, dtype: str) -> str:
    chosen = _chosen[operator]
    return AUTO if NATIVE.get(chosen, dtype) != dtype else chosen


def choose_native(dtype: str) -> str | None:
    """Return which of :data:`NATIVE` products of a dtype, named without ``torch.``, are to be; None: none of them."""
    chosen = _chosen_for("matmul", dtype)
    return chosen if chosen in NATIVE else None


def prefers_kernel(operator: str, dtype: str) -> bool:
    """Return whether the compiled kernel should run, if there is one.

    Args:
        operator: one of :data:`OPERATORS`.
        dtype: torch's name without ``torch.``, such as ``bfloat16``.
    """
    chosen = _chosen_for(operator, dtype)
    return chosen in (KERNEL, *NATIVE) or (chosen == AUTO and _where_torch_is_faster(operator, dtype) is None)


def explain_implementation(operator: str, dtype: str, isa: str | None) -> str:
    """Return what runs for an operator and why, such as ``kernel on avx2 (auto)``.

    Args:
        operator: one of :data:`OPERATORS`.
        dtype: as :func:`prefers_kernel` takes it.
        isa: the instruction set that the kernel was chosen for; None when it was not built.
    """
    if isa is None:
        return f"{REFERENCE} (the kernels were not built)"
    chosen = _chosen_for(operator, dtype)
    if chosen != AUTO:
        return f"{chosen}{f' on {isa}' if chosen != REFERENCE else ''} (kernels.{operator})"
    if prefers_kernel(operator, dtype):
        return f"{KERNEL} on {isa} ({AUTO})"
    return f"{REFERENCE} ({AUTO}: torch is faster for {dtype} on {_where_torch_is_faster(operator, dtype)})"
