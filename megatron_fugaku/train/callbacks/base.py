"""The moments of a run that a callback can take part in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Attributes:
        iteration: steps done, this one included.
        consumed_tokens: tokens read since the run began.
        lm_loss: mean over the global batch, natural log.
        grad_norm: before clipping.
        learning_rate: used in this step.
        step_s: seconds, on rank 0's clock.
        tokens_per_s: of all ranks together.
        flops_per_s: model floating-point operations of all ranks together.
        skipped: whether the update was left out because the gradient was not finite.
        time_s: seconds by kind, mean over ranks; see :mod:`megatron_fugaku.train.measure`.
    """

    iteration: int
    consumed_tokens: int
    lm_loss: float
    grad_norm: float
    learning_rate: float
    step_s: float
    tokens_per_s: float
    flops_per_s: float
    skipped: bool
    time_s: dict[str, float]


class Callback:
    """Base: every method does nothing."""

    def on_start(self, iteration: int, world_size: int, resumed_from: Path | None) -> None:
        """Training begins or goes on after ``iteration`` steps."""

    def on_step(self, report: StepReport) -> None:
        """A step was done."""

    def on_validation(self, iteration: int, lm_loss: float, perplexity: float) -> None:
        """The validation loss was measured."""

    def on_checkpoint(self, iteration: int, path: Path, save_s: float) -> None:
        """A checkpoint was written."""

    def on_end(self, iteration: int, reason: str) -> None:
        """Training ends: ``finished``, ``exit_interval`` or ``interrupted``."""
