"""What options of Fugaku's fork change in Megatron-DeepSpeed's training: iterations left out, data, timers; and its
optimizer."""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from megatron_fugaku.errors import DataError
from megatron_fugaku.patches.adamw import FusedAdamW

#: Where ``--use-timer`` writes, in the working folder.
TIMER_FOLDER = Path("timers")


def build_adam(original: type) -> Callable:
    """Return the maker of Megatron's optimizer: AdamW, which Apex's FusedAdam computes on GPUs. Upstream takes torch's
    Adam elsewhere, which adds the weight decay to the gradient."""

    def Adam(params: Iterable, **settings: Any) -> torch.optim.Optimizer:
        """torch's own for DeepSpeed, which knows it; one that keeps its step in the group, as Apex's, for Megatron's
        optimizers, which save no other."""
        from megatron import get_args

        return (torch.optim.AdamW if get_args().deepspeed else FusedAdamW)(params, **settings)

    return Adam


def build_adam_class(original: type) -> type:
    """Return the class that the distributed optimizer accepts."""
    return FusedAdamW


def build_param_groups(original: Callable) -> Callable:
    """Return ``get_param_groups`` that knows a matrix from a vector under ZeRO 3, which leaves an empty vector of each
    parameter on a rank: upstream exempts vectors from weight decay, and nothing would decay."""

    @functools.wraps(original)
    def get_param_groups(modules: Any, no_weight_decay_cond: Callable | None, *rest: Any, **kwargs: Any) -> list[dict]:
        return original(modules, no_weight_decay_cond or _is_exempt_from_decay, *rest, **kwargs)

    return get_param_groups


def _is_exempt_from_decay(name: str, parameter: torch.Tensor) -> bool:
    return name.endswith(".bias") or len(getattr(parameter, "ds_shape", parameter.shape)) == 1


def is_skipped(iteration: int, ranges: Iterable[tuple[int, int]]) -> bool:
    """Say whether an iteration, counted from 1, lies in one of the ranges, ends included."""
    return any(first <= iteration <= last for first, last in ranges)


def build_train_step(original: Callable) -> Callable:
    """Return ``train_step`` that leaves out the iterations of ``--skip-train-iteration-range``: their data is read and
    nothing is learned from it."""

    @functools.wraps(original)
    def train_step(forward_step_func: Callable, data_iterator: Any, *rest: Any, **kwargs: Any) -> tuple:
        from megatron import get_args, get_num_microbatches, print_rank_0

        iteration = get_args().curr_iteration + 1
        if not is_skipped(iteration, get_args().skip_train_iteration_range):
            return original(forward_step_func, data_iterator, *rest, **kwargs)
        print_rank_0(f"iteration {iteration} is left out: --skip-train-iteration-range")
        for iterator in data_iterator if isinstance(data_iterator, list) else [data_iterator]:
            for _ in range(get_num_microbatches() if iterator is not None else 0):
                next(iterator)
        return {}, 1, None, None

    return train_step


def build_optimizer_step(original: Callable) -> Callable:
    """Return ``step`` of Megatron's optimizers that, with ``--skip-nonfinite-iterations``, leaves the weights as they
    are where a gradient is not finite on any rank."""

    @functools.wraps(original)
    def step(self: Any, args: Any, timers: Any) -> tuple:
        if args.skip_nonfinite_iterations and _has_nonfinite_gradient(self):
            return False, None, None
        return original(self, args, timers)

    return step


def _has_nonfinite_gradient(optimizer: Any) -> bool:
    gradients = [getattr(parameter, "main_grad", None) if getattr(parameter, "main_grad", None) is not None
                 else parameter.grad for model in optimizer.models for parameter in model.parameters()]
    found = torch.tensor([float(any(not torch.isfinite(gradient.sum()) for gradient in gradients
                                    if gradient is not None))])
    # All ranks: with a distributed optimizer each holds the sum of a part only.
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found.item())


def build_get_model(original: Callable) -> Callable:
    """Return ``get_model`` that, with ``--checkpoint-activations-stages N``, recomputes activations in the first N
    pipeline stages only: the later a stage, the fewer micro-batches it has in flight."""

    @functools.wraps(original)
    def get_model(*args: Any, **kwargs: Any) -> Any:
        from megatron import get_args
        from megatron.core import mpu

        settings = get_args()
        stages = settings.checkpoint_activations_stages
        if stages is not None and mpu.get_pipeline_model_parallel_rank() >= stages:
            settings.checkpoint_activations = False
            settings.recompute_granularity = settings.recompute_method = None
        return original(*args, **kwargs)

    return get_model


def build_load_base_checkpoint(original: Callable) -> Callable:
    """Return ``_load_base_checkpoint`` whose file may hold what upstream itself puts there beside tensors: its
    arguments and the states of random generators. ``torch.load`` accepts tensors alone since 2.6, and what is named to
    it."""

    @functools.wraps(original)
    def _load_base_checkpoint(*args: Any, **kwargs: Any) -> Any:
        from megatron.core.enums import ModelType

        generator_state = np.random.get_state()[1]
        kinds = [argparse.Namespace, ModelType, np.ndarray, np.dtype, type(generator_state.dtype),
                 generator_state.__reduce__()[0]]
        with torch.serialization.safe_globals(kinds):
            return original(*args, **kwargs)

    return _load_base_checkpoint


def build_load_checkpoint(original: Callable) -> Callable:
    """Return ``load_checkpoint`` that does what ``--no-load-lr-state`` says. Upstream has the option and ignores it."""

    @functools.wraps(original)
    def load_checkpoint(model: Any, optimizer: Any, opt_param_scheduler: Any, *rest: Any, **kwargs: Any) -> Any:
        from megatron import get_args

        if not get_args().no_load_lr_state:
            return original(model, optimizer, opt_param_scheduler, *rest, **kwargs)
        engine = model[0] if get_args().deepspeed else None
        scheduler = getattr(engine, "lr_scheduler", None)
        if engine is not None:
            engine.lr_scheduler = None  # DeepSpeed loads the state of one that is there
        try:
            return original(model, optimizer, None, *rest, **kwargs)
        finally:
            if engine is not None:
                engine.lr_scheduler = scheduler

    return load_checkpoint


class _TorchWithLocalSums:
    """Stands for ``torch`` in a function that only asks, by sums, whether all ranks are as far as this one."""

    class distributed:
        """``torch.distributed`` whose sums are those of equal values, made without asking anybody."""

        @staticmethod
        def all_reduce(tensor: torch.Tensor, group: Any = None) -> None:
            """Multiply by the number of ranks."""
            tensor.mul_(dist.get_world_size(group))

        get_world_size = staticmethod(dist.get_world_size)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def build_index_mappings(original: Callable) -> Callable:
    """Return ``_build_index_mappings`` that, with ``--use-cached-dataset``, reads the index files of an earlier run: no
    rank builds them, and none waits for another."""

    @functools.wraps(original)
    def _build_index_mappings(*args: Any, **kwargs: Any) -> Any:
        from megatron import get_args
        from megatron.data import gpt_dataset

        if not get_args().use_cached_dataset:
            return original(*args, **kwargs)
        saved = gpt_dataset.torch, gpt_dataset.is_rank_0
        gpt_dataset.torch, gpt_dataset.is_rank_0 = _TorchWithLocalSums(), lambda: False
        try:
            return original(*args, **kwargs)
        except FileNotFoundError as error:
            raise DataError(
                f"{error.filename} does not exist", "--use-cached-dataset reads index files and builds none",
                "run once without it, on as few ranks as you like, with the same data, sequence length, seed and "
                "number of samples", "--use-cached-dataset") from error
        finally:
            gpt_dataset.torch, gpt_dataset.is_rank_0 = saved

    return _build_index_mappings


def build_timers_log(original: Callable) -> Callable:
    """Return ``Timers.log`` that, with ``--use-timer``, writes what this rank took, in seconds since the last time, as
    a line of JSON to ``timers/rank_N.jsonl``."""

    @functools.wraps(original)
    def log(self: Any, names: list[str], *rest: Any, **kwargs: Any) -> None:
        from megatron import get_args

        args = get_args()
        if args.use_timer:
            took = {name: round(self._timers[name].elapsed(reset=False), 6) for name in names if name in self._timers}
            TIMER_FOLDER.mkdir(exist_ok=True)
            with open(TIMER_FOLDER / f"rank_{dist.get_rank()}.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"iteration": getattr(args, "iteration", 0), **took}) + os.linesep)
        original(self, names, *rest, **kwargs)

    return log
