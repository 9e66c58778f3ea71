"""Runs an unmodified training script in which a gradient of one rank is infinite in one iteration, counted from 1.

Usage: ``mfugaku run nonfinite_gradient.py ITERATION RANK SCRIPT ARGUMENTS...``
"""

from __future__ import annotations

import math
import runpy
import sys
from pathlib import Path

import torch

iteration, rank, script = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).resolve()
sys.argv[:] = sys.argv[3:]
sys.path.insert(0, str(script.parent))

import megatron.training  # noqa: E402

original = megatron.training.get_model


def spoil(gradient: torch.Tensor) -> torch.Tensor:
    """Scale the gradient to infinity where it is the time and the place."""
    from megatron import get_args

    is_here = get_args().curr_iteration + 1 == iteration and torch.distributed.get_rank() == rank
    return gradient * math.inf if is_here else gradient


def get_model(*args, **kwargs):
    """The script's model, with a hook on its first parameter."""
    model = original(*args, **kwargs)
    next(model[0].parameters()).register_hook(spoil)
    return model


megatron.training.get_model = get_model
runpy.run_path(str(script), run_name="__main__")
