"""``metrics.jsonl`` of a run folder as typed records, whatever crashes and resumes the run went through."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_fugaku.errors import DataError
from megatron_fugaku.report.files import read_json_lines

#: Where a step's time goes, in the order in which it is drawn.
TIME_CATEGORIES = ("compute", "tp", "pp", "dp", "optimizer", "data", "other")


@dataclass(frozen=True)
class Start:
    """A start of the job. ``iteration``: steps already done; ``resumed_from``: the checkpoint it went on from."""

    iteration: int
    time: float
    world_size: int
    resumed_from: str | None


@dataclass(frozen=True)
class TrainStep:
    """One optimizer step. Losses are NaN where the step had none; ``time_s`` is the mean over ranks in seconds."""

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


@dataclass(frozen=True)
class Validation:
    """A validation after ``iteration`` steps. ``lm_loss`` in nats per token."""

    iteration: int
    lm_loss: float
    perplexity: float


@dataclass(frozen=True)
class CheckpointSave:
    """A checkpoint written after ``iteration`` steps in ``save_s`` seconds."""

    iteration: int
    path: str
    save_s: float


@dataclass(frozen=True)
class End:
    """An orderly end: ``reason`` is ``finished``, ``exit_interval`` or ``interrupted``."""

    iteration: int
    reason: str


@dataclass(frozen=True)
class RepeatedStep:
    """A step trained before an interruption and again after the resume from an older checkpoint."""

    iteration: int
    before: TrainStep
    after: TrainStep

    @property
    def is_equal(self) -> bool:
        """Whether loss and gradient norm are the same numbers, bit for bit."""
        return (self.before.lm_loss, self.before.grad_norm) == (self.after.lm_loss, self.after.grad_norm)


@dataclass(frozen=True)
class Metrics:
    """What a run recorded. Of a step done twice, after a resume from an older checkpoint, the later record counts.

    Attributes:
        train: steps in order of iteration, each once.
        validations: in order of iteration, each once.
        notes: sentences about lines that could not be used.
        abandoned_steps: iterations whose first record was given up by a resume.
        repeated: those of them that were trained again: at the same layout, their numbers are the same.
    """

    starts: tuple[Start, ...]
    train: tuple[TrainStep, ...]
    validations: tuple[Validation, ...]
    checkpoints: tuple[CheckpointSave, ...]
    end: End | None
    notes: tuple[str, ...] = ()
    abandoned_steps: int = 0
    repeated: tuple[RepeatedStep, ...] = ()

    @property
    def world_size(self) -> int:
        """Ranks of the latest start; 0 when no start was recorded."""
        return self.starts[-1].world_size if self.starts else 0

    @property
    def resumes(self) -> tuple[Start, ...]:
        """Starts that went on from a checkpoint."""
        return tuple(start for start in self.starts if start.resumed_from is not None)

    @property
    def consumed_tokens(self) -> int:
        """Tokens trained on."""
        return self.train[-1].consumed_tokens if self.train else 0

    def explain_repeats(self) -> str:
        """Say in a sentence whether the run went on exactly after its interruptions; empty without any."""
        if not self.repeated:
            return ""
        steps = sorted({step.iteration for step in self.repeated})
        names = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
        different = [step for step in self.repeated if not step.is_equal]
        if not different:
            return (f"Interrupted and resumed: of the steps {names}, trained before the interruption and again after "
                    "it, every loss and gradient norm is the same, bit for bit.")
        gap = max(abs(step.before.lm_loss - step.after.lm_loss) for step in different)
        return (f"Interrupted and resumed: {len(different)} of the {len(self.repeated)} steps trained twice ({names}) "
                f"differ, in the loss by at most {gap:.3g}.")

    def median(self, name: str) -> float:
        """Median over steps of a numeric field of :class:`TrainStep`, NaN when no step has it."""
        values = [value for value in (getattr(step, name) for step in self.train) if math.isfinite(value)]
        return statistics.median(values) if values else math.nan

    def mean_time_s(self) -> dict[str, float]:
        """Mean seconds of a step per category of :data:`TIME_CATEGORIES`; {} when no step recorded a split."""
        steps = [step.time_s for step in self.train if step.time_s]
        if not steps:
            return {}
        return {name: sum(step.get(name, 0.0) for step in steps) / len(steps) for name in TIME_CATEGORIES}


@dataclass
class _Reader:
    path: Path
    starts: list[Start] = field(default_factory=list)
    train: dict[int, TrainStep] = field(default_factory=dict)
    validations: dict[int, Validation] = field(default_factory=dict)
    checkpoints: dict[str, CheckpointSave] = field(default_factory=dict)
    end: End | None = None
    abandoned: dict[int, TrainStep] = field(default_factory=dict)
    num_abandoned: int = 0
    repeated: list[RepeatedStep] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, number: int, record: dict[str, Any]) -> None:
        event = record.get("event")
        try:
            if event == "start":
                self._add_start(record)
            elif event == "train":
                step = _train_step(record)
                self.train[step.iteration] = step
                if step.iteration in self.abandoned:
                    self.repeated.append(RepeatedStep(step.iteration, self.abandoned.pop(step.iteration), step))
            elif event == "validation":
                iteration, loss = int(record["iteration"]), _number(record["lm_loss"])
                perplexity = _number(record.get("perplexity", math.exp(min(loss, 700.0))))
                self.validations[iteration] = Validation(iteration, loss, perplexity)
            elif event == "checkpoint":
                path = str(record["path"])
                self.checkpoints[path] = CheckpointSave(int(record["iteration"]), path, _number(record.get("save_s")))
            elif event == "end":
                self.end = End(int(record["iteration"]), str(record["reason"]))
            else:
                self.unknown[str(event)] += 1
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{self.path}, line {number}: event {event!r} cannot be read: {reason}",
                            "a number in the report would be wrong", "repair or remove that line",
                            f"{self.path}:{number}") from error

    def _add_start(self, record: dict[str, Any]) -> None:
        start = Start(int(record["iteration"]), _number(record.get("time")), int(record["world_size"]),
                      record.get("resumed_from"))
        self.starts.append(start)
        self.end = None
        # What an earlier attempt did beyond the point of resumption is not part of the run any more.
        given_up = {i: step for i, step in self.train.items() if i > start.iteration}
        self.abandoned.update(given_up)
        self.num_abandoned += len(given_up)
        self.train = {i: step for i, step in self.train.items() if i <= start.iteration}
        self.validations = {i: item for i, item in self.validations.items() if i <= start.iteration}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _train_step(record: dict[str, Any]) -> TrainStep:
    return TrainStep(
        iteration=int(record["iteration"]),
        consumed_tokens=int(record["consumed_tokens"]),
        lm_loss=_number(record["lm_loss"]),
        grad_norm=_number(record.get("grad_norm")),
        learning_rate=_number(record.get("learning_rate")),
        step_s=_number(record["step_s"]),
        tokens_per_s=_number(record["tokens_per_s"]),
        flops_per_s=_number(record.get("flops_per_s")),
        skipped=bool(record.get("skipped", False)),
        time_s={str(name): float(value) for name, value in (record.get("time_s") or {}).items()},
    )


def load_metrics(run_dir: str | Path) -> Metrics:
    """Read ``metrics.jsonl`` of a run folder.

    Raises:
        DataError: there is no such folder or file, it holds no event, or an event lacks a field.
    """
    path = Path(run_dir) / "metrics.jsonl"
    if not Path(run_dir).is_dir():
        raise DataError(f"{run_dir} is not a folder", "a report is made from the folder that a run wrote",
                        "give the run_dir of a run, such as runs/<name>", str(run_dir))
    if not path.is_file():
        raise DataError(f"{run_dir} has no metrics.jsonl", "it holds the losses and times of a run",
                        "give the folder of a run that has started", str(path))
    records, notes = read_json_lines(path)
    reader = _Reader(path)
    for number, record in records:
        reader.add(number, record)
    if not (reader.starts or reader.train):
        raise DataError(f"{path} records no step", "there is nothing to report yet",
                        "wait until the run has done its first step", str(path))
    notes += [f"{count} records of unknown kind {name!r} were left out." for name, count in reader.unknown.items()]
    return Metrics(
        starts=tuple(reader.starts),
        train=tuple(reader.train[i] for i in sorted(reader.train)),
        validations=tuple(reader.validations[i] for i in sorted(reader.validations)),
        checkpoints=tuple(sorted(reader.checkpoints.values(), key=lambda item: item.iteration)),
        end=reader.end,
        notes=tuple(notes),
        abandoned_steps=reader.num_abandoned,
        repeated=tuple(reader.repeated),
    )
