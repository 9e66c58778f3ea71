"""Checkpoints that do not depend on the layout, written so that a crash leaves the last good one."""

from __future__ import annotations

from megatron_fugaku.checkpoint.checkpointer import DistCheckpointer, load_model_weights
from megatron_fugaku.checkpoint.store import CheckpointStore
from megatron_fugaku.config import RunConfig
from megatron_fugaku.train.loop import Checkpointer

__all__ = ["CheckpointStore", "DistCheckpointer", "build_checkpointer", "load_model_weights"]


def build_checkpointer(config: RunConfig) -> Checkpointer:
    """Return the checkpointer of ``config.engine``."""
    if config.engine == "megatron":
        return DistCheckpointer(config)
    from megatron_fugaku.checkpoint.deepspeed_checkpointer import DeepSpeedCheckpointer

    return DeepSpeedCheckpointer(config)
