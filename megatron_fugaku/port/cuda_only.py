"""Says what a program wanted of CUDA, when it failed for the lack of it."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

#: How torch and CUDA packages say that there is no CUDA.
_WORDS = re.compile(r"Torch not compiled with CUDA|Found no NVIDIA driver|no NVIDIA GPU|CUDA (is not|not) available|"
                    r"not linked with support for cuda|module 'torch\._C' has no attribute '_cuda|NVTX functions not "
                    r"installed|requires CUDA|Tried to instantiate dummy base class|nvcc", re.IGNORECASE)
_TORCH_CUDA = ("torch/cuda/", "torch/_utils.py", "torch/_C")


def is_cuda_error(error: BaseException) -> bool:
    """Say whether an exception is about a CUDA that is not there."""
    return _WORDS.search(str(error)) is not None


def explain_cuda_error(error: BaseException) -> tuple[str, str, str, str] | None:
    """Return what happened, why, what to do and where, for an exception that is about CUDA; None for any other one.

    The call that counts is the last one outside torch's own CUDA modules.
    """
    if not is_cuda_error(error):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not any(part in frame.filename for part in _TORCH_CUDA)]
    if not outside:
        return None
    last = outside[-1]
    inside = frames[frames.index(last) + 1] if last is not frames[-1] else None
    module = "torch." + ".".join(Path(inside.filename.partition("torch/")[2]).with_suffix("").parts) if inside else ""
    name = f"{module.removesuffix('.__init__')}.{inside.name}" if inside else (last.line or str(error))
    return (f"{name} needs a GPU: {str(error).splitlines()[0]}",
            f"{last.filename}:{last.lineno} calls it, in {last.name}: {last.line}",
            "choose options that do without it; if a CPU can answer the call, it is one more shim in "
            "megatron_fugaku/patches/script_table.py", name)
