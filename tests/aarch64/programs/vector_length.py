"""Runs a command with shorter SVE vectors than the processor has: vector_length.py BYTES COMMAND...

Without arguments it prints how long the vectors can be, 0 for a processor without SVE. It makes what the kernel calls
the vector length on exec, inherited by the command's children (Documentation/arch/arm64/sve.rst of Linux).
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

PR_SVE_SET_VL = 50
INHERIT, ON_EXEC = 1 << 17, 1 << 18
MASK = 0xFFFF
LONGEST_POSSIBLE = 8192


def set_vector_length(num_bytes: int, flags: int = 0) -> int:
    """Return the length that was set: the longest possible one up to ``num_bytes``; 0 without SVE."""
    if platform.machine() != "aarch64":
        return 0
    answer = ctypes.CDLL(None, use_errno=True).prctl(PR_SVE_SET_VL, num_bytes | flags, 0, 0, 0)
    return 0 if answer < 0 else answer & MASK


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(set_vector_length(LONGEST_POSSIBLE))
        sys.exit()
    wanted, command = int(sys.argv[1]), sys.argv[2:]
    found = set_vector_length(wanted, INHERIT | ON_EXEC)
    if found != wanted:
        sys.exit(f"SVE vectors of {wanted} bytes cannot be had, only of {found}. The tests would not test them. "
                 f"Choose a length up to {set_vector_length(LONGEST_POSSIBLE)}.")
    os.execvp(command[0], command)
