"""Lines for people."""

from __future__ import annotations

from pathlib import Path

from megatron_fugaku.train.callbacks.base import Callback, StepReport


def format_duration(seconds: float) -> str:
    """Return ``1 h 02 min``, ``3 min 20 s`` or ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Console(Callback):
    """Prints one line every ``log_interval`` steps, with the time that is left."""

    def __init__(self, num_steps: int, log_interval: int):
        self.num_steps, self.log_interval = num_steps, log_interval
        self._mean_step_s: float | None = None

    def on_start(self, iteration: int, world_size: int, resumed_from: Path | None) -> None:
        origin = f"resumed from {resumed_from}" if resumed_from else "from initial weights"
        print(f"training on {world_size} ranks, step {iteration + 1} to {self.num_steps}, {origin}", flush=True)

    def on_step(self, report: StepReport) -> None:
        mean = self._mean_step_s
        self._mean_step_s = report.step_s if mean is None else 0.9 * mean + 0.1 * report.step_s
        if report.iteration % self.log_interval and report.iteration != self.num_steps and not report.skipped:
            return
        left = format_duration((self.num_steps - report.iteration) * self._mean_step_s)
        print(
            f"step {report.iteration:>{len(str(self.num_steps))}}/{self.num_steps}"
            f" | tokens {report.consumed_tokens:,} | loss {report.lm_loss:.4f} | grad norm {report.grad_norm:.3f}"
            f" | lr {report.learning_rate:.2e} | {report.step_s:.2f} s | {report.tokens_per_s:,.0f} tokens/s"
            f" | {left} left" + (" | update skipped: gradient not finite" if report.skipped else ""),
            flush=True,
        )

    def on_validation(self, iteration: int, lm_loss: float, perplexity: float) -> None:
        print(f"validation after step {iteration} | loss {lm_loss:.4f} | perplexity {perplexity:.1f}", flush=True)

    def on_checkpoint(self, iteration: int, path: Path, save_s: float) -> None:
        print(f"checkpoint of step {iteration} in {path} ({save_s:.1f} s)", flush=True)

    def on_end(self, iteration: int, reason: str) -> None:
        print(f"training ends after step {iteration}: {reason.replace('_', ' ')}", flush=True)
