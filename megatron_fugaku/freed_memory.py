"""Lets this process keep the memory that it frees.

By default glibc gives every large block back to the kernel as it is freed, and the kernel clears its pages anew when
the next step asks for the same. The 13B run on Fugaku preloaded another allocator for it; glibc can do the same when
told so.
"""

from __future__ import annotations

import ctypes
import os

from megatron_fugaku import environment

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Let freed memory be used again instead of given back; return whether the allocator will.

    Nothing is changed where the user has set malloc's own variables or MFUGAKU_KEEP_FREED_MEMORY=0, or where malloc is
    not glibc's.
    """
    if not environment.get("MFUGAKU_KEEP_FREED_MEMORY"):
        return False
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or any(name in os.environ for name in _USERS_OWN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # No block by mmap, and an end of the heap that never shrinks.
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
