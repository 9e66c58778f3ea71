"""What happens beside training, one concern a file. All run on rank 0 unless they say otherwise."""

from megatron_fugaku.train.callbacks.base import Callback, StepReport
from megatron_fugaku.train.callbacks.console import Console
from megatron_fugaku.train.callbacks.metrics_file import MetricsFile
from megatron_fugaku.train.callbacks.tensorboard import TensorBoard

__all__ = ["Callback", "Console", "MetricsFile", "StepReport", "TensorBoard"]
