"""TensorBoard files, for those who watch a run there."""

from __future__ import annotations

from pathlib import Path

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.train.callbacks.base import Callback, StepReport


class TensorBoard(Callback):
    """Writes scalars into ``tensorboard/`` of the run folder; after a resume from an older step, later values win."""

    def __init__(self, directory: Path, first_iteration: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise EnvironmentError("logging.tensorboard is on but the package tensorboard is not installed",
                                   "its files cannot be written", "pip install tensorboard, or set "
                                   "logging.tensorboard=false", "logging.tensorboard") from error
        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=first_iteration + 1)

    def on_step(self, report: StepReport) -> None:
        for name in ("lm_loss", "grad_norm", "learning_rate"):
            self._writer.add_scalar(f"train/{name}", getattr(report, name), report.iteration)
        for name in ("step_s", "tokens_per_s", "flops_per_s"):
            self._writer.add_scalar(f"speed/{name}", getattr(report, name), report.iteration)
        for name, seconds in report.time_s.items():
            self._writer.add_scalar(f"time_s/{name}", seconds, report.iteration)

    def on_validation(self, iteration: int, lm_loss: float, perplexity: float) -> None:
        self._writer.add_scalar("validation/lm_loss", lm_loss, iteration)

    def on_end(self, iteration: int, reason: str) -> None:
        self._writer.close()
