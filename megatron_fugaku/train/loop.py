"""The training loop."""

from __future__ import annotations

import json
import math
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from megatron.core import parallel_state
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from megatron_fugaku import comm
from megatron_fugaku.atomic_file import write_text_atomically
from megatron_fugaku.config import RunConfig, padded_vocab_size
from megatron_fugaku.data.datasets import build_datasets, load_tokenizer, locate_data
from megatron_fugaku.errors import TrainingError
from megatron_fugaku.model import build_model_chunks, build_transformer_config
from megatron_fugaku.model.flops import flops_per_token
from megatron_fugaku.train.callbacks import Callback, Console, MetricsFile, StepReport, TensorBoard
from megatron_fugaku.train.engine import Engine, build_engine
from megatron_fugaku.train.manifest import describe_run, write_run_files
from megatron_fugaku.train.measure import TIME_KEYS, StepClock, TimelineRecorder, communication_spans
from megatron_fugaku.train.optimizer import build_scheduler
from megatron_fugaku.train.runtime import axes_by_group
from megatron_fugaku.train.step import DataReader, loss_share


@dataclass
class TrainState:
    """How far a run has come. ``skipped_in_a_row`` counts updates left out since the last one that was made."""

    iteration: int = 0
    consumed_samples: int = 0
    skipped_in_a_row: int = 0


@dataclass
class Training:
    """The live objects of a run on this rank."""

    config: RunConfig
    transformer_config: Any
    engine: Engine
    scheduler: OptimizerParamScheduler
    state: TrainState


class Checkpointer(Protocol):
    """How the loop stores and restores a run; :mod:`megatron_fugaku.checkpoint` implements it."""

    def load(self, training: Training) -> Path | None:
        """Restore ``training`` in place; return what was loaded, or None when there is nothing to load."""

    def save(self, training: Training) -> Path:
        """Store ``training``; return where."""


class _StopRequest:
    """Turns SIGTERM, SIGINT and SIGUSR1 into a stop of all ranks after a step; a second SIGINT stops at once.

    ``requested`` is what this rank was told, at any moment; ``agreed`` is what all ranks know since the last step's
    all-reduce. Only the second may end training: a rank that left on its own would leave the others waiting.
    """

    def __init__(self) -> None:
        self.requested = self.agreed = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


class _Loop:
    def __init__(self, config: RunConfig, checkpointer: Checkpointer):
        self.config, self.checkpointer = config, checkpointer
        self.is_main = torch.distributed.get_rank() == 0
        self.stop = _StopRequest()
        self.axes = axes_by_group()
        self.reader = DataReader(config)
        sources = locate_data(config)
        tokenizer = load_tokenizer(sources)
        vocab_size = config.model.vocab_size or tokenizer.vocab_size
        if vocab_size < tokenizer.vocab_size:
            raise TrainingError(f"model.vocab_size {vocab_size} is below the tokenizer's {tokenizer.vocab_size}",
                                "its tokens would have no embedding", "raise it or leave it out", "model.vocab_size")
        self.vocab_size = padded_vocab_size(vocab_size, config)
        self.training = self._build(vocab_size)
        reads = any(model.pre_process or model.post_process for model in self.training.engine.models)
        self.train_data, self.valid_data = build_datasets(config, sources, tokenizer, reads)
        self.callbacks: list[Callback] = []

    def _build(self, vocab_size: int) -> Training:
        config = self.config
        transformer_config = build_transformer_config(config, parallel_state.get_pipeline_model_parallel_rank())
        models = build_model_chunks(config, transformer_config, vocab_size)
        engine = build_engine(config, transformer_config, models)
        scheduler = build_scheduler(config, engine.optimizer)
        return Training(config, transformer_config, engine, scheduler, TrainState())

    def _count_parameters(self) -> int:
        """Count the whole model's parameters, those that ranks share once."""
        tp_rank = parallel_state.get_tensor_model_parallel_rank()
        count = 0
        for model in self.training.engine.models:
            for name, parameter in model.named_parameters():
                is_copy = (name == "output_layer.weight" and model.share_embeddings_and_output_weights)
                if not is_copy and (tp_rank == 0 or getattr(parameter, "tensor_model_parallel", False)):
                    count += getattr(parameter, "ds_numel", parameter.numel())  # ZeRO 3 keeps none whole
        total = torch.tensor(count if parallel_state.get_data_parallel_rank() == 0 else 0, dtype=torch.int64)
        torch.distributed.all_reduce(total)
        return int(total)

    def _notify(self, moment: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(*args)

    def _start(self) -> None:
        config = self.config
        resumed_from = self.checkpointer.load(self.training)
        state = self.training.state
        world_size = torch.distributed.get_world_size()
        num_parameters = self._count_parameters()
        if self.is_main:
            manifest = describe_run(config, world_size, num_parameters, self.vocab_size)
            write_run_files(config, manifest)
            kernels = ", ".join(f"{operator}: {choice}" for operator, choice in manifest["kernels"].items())
            print(f"{config.name}: {num_parameters:,} parameters, {config.tokens_per_step:,} tokens a step, run folder "
                  f"{config.directory}\nkernels: {kernels}", flush=True)
            self.callbacks = [Console(config.num_steps, config.train.log_interval), MetricsFile(config.directory)]
            if config.logging.tensorboard:
                self.callbacks.append(TensorBoard(config.directory, state.iteration))
        self._notify("on_start", state.iteration, world_size, resumed_from)

    def _train_step(self) -> StepReport:
        config, training, state = self.config, self.training, self.training.state
        recorder = TimelineRecorder() if state.iteration + 1 in config.logging.timeline_iterations else None
        if recorder:
            torch.distributed.barrier()
            comm.drain_trace()
            comm.set_tracing(True)
        training.transformer_config.timers = recorder
        clock = StepClock(self.axes)
        clock.start()
        self.reader.seconds = 0.0
        started = time.perf_counter()
        training.engine.start_step()
        # The schedule gives the rate of a step from the tokens consumed with it, so that the first rate is not zero.
        training.scheduler.step(increment=config.tokens_per_step)
        loss = training.engine.run(self.reader, self.train_data, state.consumed_samples)
        clock.data_s = self.reader.seconds
        clock.forward_backward_done()
        optimizer_started = time.perf_counter()
        grad_norm, updated = training.engine.update()
        step_s, split = clock.stop()
        state.iteration += 1
        state.consumed_samples += config.train.global_batch_size
        state.skipped_in_a_row = 0 if updated else state.skipped_in_a_row + 1
        if recorder:
            self._write_timeline(recorder, started, optimizer_started)
        return self._report(loss, grad_norm, updated, step_s, split)

    def _report(self, loss: float, grad_norm: float, updated: bool, step_s: float,
                split: dict[str, float]) -> StepReport:
        world_size = torch.distributed.get_world_size()
        summed = torch.tensor([loss_share(loss), float(self.stop.requested), *(split[key] for key in TIME_KEYS)],
                              dtype=torch.float64)
        torch.distributed.all_reduce(summed)
        lm_loss, stops, *times = summed.tolist()
        self.stop.agreed = stops > 0
        state, tokens_per_s = self.training.state, self.config.tokens_per_step / step_s
        return StepReport(
            iteration=state.iteration,
            consumed_tokens=state.consumed_samples * self.config.model.seq_length,
            lm_loss=lm_loss,
            grad_norm=grad_norm,
            learning_rate=self.training.engine.optimizer.param_groups[0]["lr"],  # all groups have the same
            step_s=step_s,
            tokens_per_s=tokens_per_s,
            flops_per_s=tokens_per_s * flops_per_token(self.config.model, self.vocab_size),
            skipped=not updated,
            time_s={key: value / world_size for key, value in zip(TIME_KEYS, times, strict=True)},
        )

    def _write_timeline(self, recorder: TimelineRecorder, started: float, optimizer_started: float) -> None:
        comm.set_tracing(False)
        self.training.transformer_config.timers = None
        ended = time.perf_counter()
        place = {
            "iteration": self.training.state.iteration,
            "pipeline_rank": parallel_state.get_pipeline_model_parallel_rank(),
            "tensor_rank": parallel_state.get_tensor_model_parallel_rank(),
            "data_rank": parallel_state.get_data_parallel_rank(),
        }
        lines = [
            {**asdict(span), "start_s": span.start_s - started, "end_s": span.end_s - started, **place}
            for span in sorted(recorder.spans + communication_spans(self.axes), key=lambda span: span.start_s)
        ]
        lines.append({"name": "optimizer", "category": "optimizer", "start_s": optimizer_started - started,
                      "end_s": ended - started, "microbatch": None, **place})
        path = self.config.directory / "timeline" / f"rank{torch.distributed.get_rank():05d}.jsonl"
        earlier = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        # A step done again after a resume counts as it was last.
        kept = [line for line in earlier if json.loads(line)["iteration"] != place["iteration"]]
        path.parent.mkdir(exist_ok=True)
        write_text_atomically(path, "".join(line + "\n" for line in [*kept, *map(json.dumps, lines)]))

    def _validate(self) -> None:
        engine = self.training.engine
        engine.start_validation()
        total = 0.0
        batch_size = self.config.train.global_batch_size
        with torch.no_grad():
            for index in range(self.config.train.eval_iters):
                total += engine.validate(self.reader, self.valid_data, index * batch_size)
        share = torch.tensor(loss_share(total / self.config.train.eval_iters), dtype=torch.float64)
        torch.distributed.all_reduce(share)
        lm_loss = float(share)
        perplexity = math.exp(min(lm_loss, 700.0))
        self._notify("on_validation", self.training.state.iteration, lm_loss, perplexity)

    def _save(self) -> None:
        self.training.engine.finish_update()
        started = time.perf_counter()
        path = self.checkpointer.save(self.training)
        self._notify("on_checkpoint", self.training.state.iteration, path, time.perf_counter() - started)

    def run(self) -> TrainState:
        config, train = self.config, self.config.train
        self._start()
        state = self.training.state
        saved_at, reason = state.iteration if state.iteration else None, "finished"
        while state.iteration < config.num_steps:
            report = self._train_step()
            self._notify("on_step", report)
            if state.skipped_in_a_row > train.max_skipped_steps:
                raise TrainingError(
                    f"loss {report.lm_loss} and gradient norm {report.grad_norm} at step {state.iteration}, the "
                    f"{state.skipped_in_a_row}. in a row that is not finite",
                    "an update from it would destroy the weights",
                    "resume from the last checkpoint with a lower lr, or allow more with train.max_skipped_steps",
                    "train.max_skipped_steps")
            if train.eval_interval and state.iteration % train.eval_interval == 0:
                self._validate()
            if config.checkpoint.save_interval and state.iteration % config.checkpoint.save_interval == 0:
                self._save()
                saved_at = state.iteration
            if self.stop.agreed:
                reason = "interrupted"
                break
            if train.exit_interval and state.iteration % train.exit_interval == 0:
                reason = "exit_interval" if state.iteration < config.num_steps else reason
                break
        if train.eval_interval and reason == "finished" and state.iteration % train.eval_interval:
            self._validate()
        if saved_at != state.iteration:
            self._save()
        self._notify("on_end", state.iteration, reason)
        return state


def pretrain(config: RunConfig, checkpointer: Checkpointer) -> TrainState:
    """Train; every rank calls it inside :func:`megatron_fugaku.train.runtime.distributed_runtime`.

    Starts from the checkpointer's checkpoint when there is one. Stops after ``num_steps``, at ``exit_interval``, or
    after the first step at whose end all ranks know that one of them got SIGTERM, SIGINT or SIGUSR1; a checkpoint is
    written in each case.

    Raises:
        TrainingError: the loss or gradient is not finite more often than ``train.max_skipped_steps`` allows.
        DataError: the tokens or tokenizer cannot be used.
        CheckpointError: the checkpoint does not fit.
    """
    return _Loop(config, checkpointer).run()
