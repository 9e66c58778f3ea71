"""Silences what upstream says on every rank of every CPU run and nobody can act on."""

from __future__ import annotations

import warnings

_MESSAGES = (
    r"(Transformer Engine and )?Apex (is|are) not installed",
    r"full scope is deprecated\. Use empty cuda_graph_scope",
    r"The following imports from `dynamic_context\.py` will be removed",
    r"`torch\.jit\.script",
    r"When using async grad allreduce it is recommended",
    r"`load_state_dict` is deprecated and will be removed",
    r"Please use DTensor instead and we are deprecating ShardedTensor",
    r"If you are using transformer_engine as the transformer implementation",
)


def silence_upstream() -> None:
    """Ignore the known messages; call before megatron-core is imported. Everything else is still shown."""
    for message in _MESSAGES:
        warnings.filterwarnings("ignore", message=message)
