"""The training loop on megatron-core: step, schedule, measurement, callbacks."""

from megatron_fugaku.train.loop import Checkpointer, TrainState, pretrain

__all__ = ["Checkpointer", "TrainState", "pretrain"]
