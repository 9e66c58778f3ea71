"""Checkpoints that do not depend on the layout, written so that a crash leaves the last good one."""

from megatron_fugaku.checkpoint.checkpointer import DistCheckpointer, load_model_weights
from megatron_fugaku.checkpoint.store import CheckpointStore

__all__ = ["CheckpointStore", "DistCheckpointer", "load_model_weights"]
