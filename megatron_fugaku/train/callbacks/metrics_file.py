"""``metrics.jsonl``: everything a run measured, one JSON object a line."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from megatron_fugaku.train.callbacks.base import Callback, StepReport

FILE_NAME = "metrics.jsonl"


class MetricsFile(Callback):
    """Appends to ``metrics.jsonl`` of the run folder; a line is written whole or, in a crash, is the last one."""

    def __init__(self, directory: Path):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / FILE_NAME
        cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._file = path.open("a", encoding="utf-8", buffering=1)
        if cut:
            self._file.write("\n")

    def _write(self, event: str, **fields: Any) -> None:
        self._file.write(json.dumps({"event": event, **fields}) + "\n")

    def on_start(self, iteration: int, world_size: int, resumed_from: Path | None) -> None:
        self._write("start", iteration=iteration, time=time.time(), world_size=world_size,
                    resumed_from=str(resumed_from) if resumed_from else None)

    def on_step(self, report: StepReport) -> None:
        self._write("train", **dataclasses.asdict(report))

    def on_validation(self, iteration: int, lm_loss: float, perplexity: float) -> None:
        self._write("validation", iteration=iteration, lm_loss=lm_loss, perplexity=perplexity)

    def on_checkpoint(self, iteration: int, path: Path, save_s: float) -> None:
        self._write("checkpoint", iteration=iteration, path=str(path), save_s=save_s)

    def on_end(self, iteration: int, reason: str) -> None:
        self._write("end", iteration=iteration, reason=reason, time=time.time())
        self._file.close()
