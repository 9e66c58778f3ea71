"""What the messages of a group's long sums carry: float32, or 16-bit floats with sums still accumulated in float32.

Rules name groups: ``tensor`` and ``data`` are those of megatron-core's dimensions, ``all`` is every group, and anything
else is the description (``group_desc``) that a group was made with. The first rule that fits decides; without one it is
float32. ``csrc/comm/wire.h`` says what is rounded and when. Groups whose ranks share memory send no messages and so
round nothing, and neither do vectors shorter than 1 MiB, other reductions than sums and averages, or gathers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from megatron_fugaku import environment
from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.errors import CommError

FORMATS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

# The descriptions that megatron.core.parallel_state gives to the groups of a dimension in which vectors are summed up.
_DESCRIPTIONS = {
    "tensor": ("TENSOR_MODEL_PARALLEL_GROUP",),
    "data": ("DATA_PARALLEL_GROUP", "DATA_PARALLEL_GROUP_WITH_CP", "INTRA_PARTIAL_DATA_PARALLEL_GROUP_WITH_CP"),
}

_rules_of_the_run: str = ""


def set_wire_rules(rules: str) -> None:
    """Set rules for the groups that are made from now on, behind those of ``MFUGAKU_COMM_WIRE``; alike on all ranks.

    Raises:
        ValueError: the text is no list of rules like ``tensor=bf16,data=fp16``.
    """
    global _rules_of_the_run
    _rules_of_the_run = environment.WireRules(rules)


def format_for(description: str) -> str:
    """Return the format, ``fp32``, ``bf16`` or ``fp16``, for a group of that description."""
    for rules in (environment.get("MFUGAKU_COMM_WIRE"), _rules_of_the_run):
        for rule in filter(None, rules.split(",")):
            name, _, wanted = rule.partition("=")
            if name == "all" or description == name or description in _DESCRIPTIONS.get(name, ()):
                return wanted
    return "fp32"


def wire_formats() -> dict[str, str]:
    """Return the format that groups of each dimension of megatron-core get where their ranks share no memory."""
    return {dimension: format_for(descriptions[0]) for dimension, descriptions in _DESCRIPTIONS.items()}


def _backend_of(group: Any) -> Any:
    """The group's backend if it is ours, or None."""
    if not isinstance(group, dist.ProcessGroup):
        return None
    backend = group._get_backend(torch.device("cpu"))
    return backend if isinstance(backend, load_extension().MpiBackend) else None


def apply_to(group: Any, description: str) -> None:
    """Give a group that was just made its wire; nothing for what is no group of the MPI backend."""
    wanted = format_for(description)
    backend = None if wanted == "fp32" else _backend_of(group)
    if backend is not None:
        backend.wire = FORMATS[wanted]


def wire_of(group: dist.ProcessGroup) -> str:
    """Return what long sums of the group travel as: ``fp32``, ``bf16`` or ``fp16``; ``fp32`` where ranks share memory.

    Raises:
        CommError: the group is of another backend.
    """
    backend = _backend_of(group)
    if backend is None:
        raise CommError(f"group {group.group_name} is of another backend", "only the MPI backend has a wire",
                        "give a group of the MPI backend")
    if backend.transport == "shared memory":
        return "fp32"
    return next(short for short, name in FORMATS.items() if name == backend.wire)
