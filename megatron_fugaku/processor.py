"""What the processor can execute, asked without loading anything that might already need more than it has."""

from __future__ import annotations

import ctypes
import platform
import signal
import subprocess
import sys
from pathlib import Path

from megatron_fugaku.errors import EnvironmentError

X86_ISA = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")
# Word of the auxiliary vector and bit of each: arch/arm64/include/uapi/asm/hwcap.h of Linux.
_AT_HWCAP, _AT_HWCAP2 = 16, 26
ARM_ISA = {"asimd": (_AT_HWCAP, 1), "asimdhp": (_AT_HWCAP, 10), "sve": (_AT_HWCAP, 22), "sve2": (_AT_HWCAP2, 1),
           "bf16": (_AT_HWCAP2, 14), "i8mm": (_AT_HWCAP2, 13), "svebf16": (_AT_HWCAP2, 12)}
_ATOMICS = (_AT_HWCAP, 8)


def _has(word: int, bit: int) -> bool:
    """Whether the kernel, or an emulator in its place, told this process of a feature."""
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
    return bool(getauxval(word) >> bit & 1)


def read_cpu_facts(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return what Linux says of the first CPU, such as ``model name``; empty without the file."""
    facts: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return facts
    for line in lines:
        name, separator, value = line.partition(":")
        if separator:
            facts.setdefault(name.strip(), value.strip())
    return facts


def read_cpu_features() -> frozenset[str]:
    """Return the flags of an x86 CPU and its vendor, such as ``avx2`` and ``AuthenticAMD``."""
    facts = read_cpu_facts()
    return frozenset(f"{facts.get('flags', '')} {facts.get('vendor_id', '')}".split())


def find_instruction_sets(machine: str, flags: set[str]) -> list[str]:
    """Return the instruction sets that kernels ask for; ``flags`` are those of /proc/cpuinfo.

    An emulator may show the host's /proc/cpuinfo to an Arm process, so there the auxiliary vector counts.
    """
    if machine == "aarch64":
        return [name for name, where in ARM_ISA.items() if _has(*where)]
    return [name for name in X86_ISA if name in flags]


def has_float16_arithmetic() -> bool:
    """Return whether the kernels of float16 products run on float16 arithmetic here: SVE, or NEON's FEAT_FP16."""
    return not {"asimdhp", "sve"}.isdisjoint(find_instruction_sets(platform.machine(), set()))


def has_bfloat16_products() -> bool:
    """Return whether the kernels of bfloat16 products run on BF16 instructions here: Arm's FEAT_BF16, in SVE if it is
    there."""
    have = set(find_instruction_sets(platform.machine(), set()))
    return "bf16" in have and ("svebf16" in have or "sve" not in have)


def check_processor() -> None:
    """Refuse a processor on which loading torch ends the process with an illegal instruction.

    torch's wheels for aarch64 use the atomic instructions (LSE) of Armv8.1 without asking for them. Whether the
    installed one does is tried in a process of its own, and only where the instructions are missing.

    Raises:
        EnvironmentError: torch does not run here.
    """
    if platform.machine() != "aarch64" or _has(*_ATOMICS):
        return
    tried = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False)
    if tried.returncode == -signal.SIGILL:
        raise EnvironmentError(
            "this processor is older than Armv8.1, and the installed torch stops on it with an illegal instruction",
            "that torch was compiled for the atomic instructions (LSE) of Armv8.1, and nothing runs without torch",
            "use a processor that has them (A64FX, Neoverse N1 and all later ones), or build torch from source",
        )
