"""Saves and restores a run through megatron-core's dist_checkpointing."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import torch
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

from megatron_fugaku.checkpoint.store import CheckpointStore
from megatron_fugaku.config import ModelConfig, RunConfig
from megatron_fugaku.errors import CheckpointError, MegatronFugakuError
from megatron_fugaku.patches.upstreams import MEGATRON_CORE, find_version
from megatron_fugaku.train.loop import Training, TrainState

_HAS_RESHARDABLE = hasattr(DistributedOptimizer, "checkpoint_fully_reshardable_formats")
_OPTIMIZER_FORMAT = {
    "distrib_optim_sharding_type": "fully_reshardable" if _HAS_RESHARDABLE else "fully_sharded_model_space",
    "distrib_optim_fully_reshardable_mem_efficient": False,
}
#: Where there are several ways to write asynchronously (0.17 on), the one of megatron-core itself.
_OWN_WRITER = ({"async_strategy": "mcore"}
               if "async_strategy" in inspect.signature(dist_checkpointing.save).parameters else {})
#: What a checkpoint of ``engine: deepspeed`` has its states in.
DEEPSPEED_FOLDER = "deepspeed"
# What must be equal for stored weights to fit; the rest of a model's description may change between runs.
_SHAPE_FIELDS = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups",
                 "kv_channels", "position_embedding_type", "normalization", "swiglu", "add_bias_linear",
                 "add_qkv_bias", "untie_embeddings_and_output_weights")


def describe_layout(config: RunConfig) -> dict[str, Any]:
    """Return what a resume must share with the saving run to go on bit for bit."""
    parallel = config.parallel
    return {
        "tensor_model_parallel_size": parallel.tensor_model_parallel_size,
        "pipeline_model_parallel_size": parallel.pipeline_model_parallel_size,
        "virtual_pipeline_model_parallel_size": parallel.virtual_pipeline_model_parallel_size,
        "data_parallel_size": parallel_state.get_data_parallel_world_size(),
        "sequence_parallel": parallel.sequence_parallel,
        "use_distributed_optimizer": parallel.use_distributed_optimizer,
        "precision": config.train.precision,
    }


def _model_state(models: list[GPTModel]) -> dict[str, Any]:
    if len(models) == 1:
        return {"model": models[0].sharded_state_dict()}
    return {f"model{index}": model.sharded_state_dict() for index, model in enumerate(models)}


def _load_model_state(models: list[GPTModel], state: dict[str, Any]) -> None:
    for index, model in enumerate(models):
        model.load_state_dict(state["model" if len(models) == 1 else f"model{index}"])


def collect_rng_states() -> dict[str, Any]:
    """Return the random states of this rank; replicas of the same (pipeline, tensor) place share theirs."""
    return {"torch": torch.get_rng_state(), "tracker": tensor_parallel.get_cuda_rng_tracker().get_states()}


def restore_rng_states(states: dict[str, Any]) -> None:
    """Go on with what :func:`collect_rng_states` returned."""
    torch.set_rng_state(states["torch"])
    tensor_parallel.get_cuda_rng_tracker().set_states(states["tracker"])


def _rng_state() -> ShardedObject:
    place = (parallel_state.get_pipeline_model_parallel_rank(), parallel_state.get_tensor_model_parallel_rank())
    shape = (parallel_state.get_pipeline_model_parallel_world_size(),
             parallel_state.get_tensor_model_parallel_world_size())
    return ShardedObject("rng_state", collect_rng_states(), shape, place,
                         replica_id=parallel_state.get_data_parallel_rank())


def check_model_matches(stored: dict[str, Any], model: ModelConfig, path: Path) -> None:
    """Compare a checkpoint's model with the run's.

    Raises:
        CheckpointError: naming the first field that differs.
    """
    resolved = model.resolved()
    for name in _SHAPE_FIELDS:
        if stored[name] != getattr(resolved, name):
            raise CheckpointError(f"{path} holds a model with {name} {stored[name]}, the run has "
                                  f"{getattr(resolved, name)}", "its weights do not fit",
                                  "use the checkpoint's value or start from another checkpoint", f"model.{name}")


def read_description(path: Path) -> dict[str, Any]:
    """Return the ``description`` that was saved: model, layout, train state.

    Raises:
        CheckpointError: ``path`` is not one of our checkpoints.
    """
    if (path / DEEPSPEED_FOLDER).is_dir():
        raise CheckpointError(f"{path} was written by engine deepspeed", "only that engine reads DeepSpeed's format",
                              "set engine=deepspeed, or start from another checkpoint", str(path))
    try:
        return dist_checkpointing.load_common_state_dict(str(path))["description"]
    except (KeyError, OSError, dist_checkpointing.core.CheckpointingException) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}", "nothing can be resumed from it",
                              "give the directory that holds iter_… directories", str(path)) from error


def on_main_rank(action: Any, *args: Any) -> Any:
    """Run on rank 0 and raise its error on every rank, so that none is left waiting."""
    answer = [None]
    if torch.distributed.get_rank() == 0:
        try:
            answer = [action(*args)]
        except MegatronFugakuError as error:
            answer = [error]
    torch.distributed.broadcast_object_list(answer, src=0)
    if isinstance(answer[0], MegatronFugakuError):
        raise answer[0]
    return answer[0]


def find_checkpoint(config: RunConfig) -> Path | None:
    """Return the checkpoint that a run starts from, checked, or None. Not collective.

    Raises:
        CheckpointError: ``checkpoint.load`` has none, or it is damaged.
    """
    load = config.checkpoint.load
    store = CheckpointStore(load or config.checkpoint_directory)
    latest = store.latest()
    if latest is None:
        if load is not None:
            raise CheckpointError(f"{load} holds no checkpoint", "the run was told to start from it",
                                  "correct the path or remove checkpoint.load", "checkpoint.load")
        return None
    return store.check(latest)


def _write(request: AsyncRequest) -> None:
    """Do what a request for writing holds, here and now: megatron-core 0.14 would fork a process for it."""
    if request.async_fn is not None:
        arguments = list(request.async_fn_args)
        if request.preload_fn is not None:
            arguments[1] = request.preload_fn()
        request.async_fn(*arguments, **request.async_fn_kwargs)
    torch.distributed.barrier()
    for finalize in request.finalize_fns:
        finalize()


class DistCheckpointer:
    """The :class:`megatron_fugaku.train.Checkpointer` of real runs. All methods are collective.

    Args:
        config: the run; ``checkpoint`` says where and how.

    Raises:
        CheckpointError: this megatron-core could not write the run's checkpoints.
    """

    def __init__(self, config: RunConfig):
        if config.parallel.use_distributed_optimizer and not _HAS_RESHARDABLE and not hasattr(numpy, "product"):
            raise CheckpointError(f"megatron-core {find_version(MEGATRON_CORE)} cannot write the "
                                  f"distributed optimizer's state with numpy {numpy.__version__}",
                                  "it calls a function that numpy 2 no longer has",
                                  "pip install 'megatron-core>=0.15', or 'numpy<2', or switch it off",
                                  "parallel.use_distributed_optimizer")
        self.config = config

    def save(self, training: Training) -> Path:
        """Write a checkpoint; it counts only once all ranks have written their part.

        Raises:
            CheckpointError: the directory cannot be written.
        """
        iteration = training.state.iteration
        store = CheckpointStore(self.config.checkpoint_directory)
        partial = on_main_rank(store.begin, iteration)
        state = _model_state(training.engine.models)
        state["optimizer"] = training.engine.optimizer.sharded_state_dict(dict(state), is_loading=False,
                                                                   metadata=_OPTIMIZER_FORMAT)
        state["rng"] = _rng_state()
        state["description"] = {
            "iteration": iteration,
            "train_state": asdict(training.state),
            "scheduler": training.scheduler.state_dict(),
            "model": self.config.model.resolved().model_dump(),
            "layout": describe_layout(self.config),
            "global_batch_size": self.config.train.global_batch_size,
        }
        _write(dist_checkpointing.save(state, str(partial), async_sharded_save=True, **_OWN_WRITER))
        torch.distributed.barrier()
        return on_main_rank(store.commit, iteration, self.config.checkpoint.keep_last)

    def load(self, training: Training) -> Path | None:
        """Restore weights, optimizer, schedule, random states and data position.

        At the layout that saved, training goes on bit for bit. At another layout the weights, the optimizer and the
        data position are the same; random states (dropout) start from the seed.

        Raises:
            CheckpointError: the checkpoint is damaged or does not fit.
        """
        path = on_main_rank(find_checkpoint, self.config)
        if path is None:
            return None
        description = on_main_rank(read_description, path)
        check_model_matches(description["model"], self.config.model, path)
        models = training.engine.models
        state = _model_state(models)
        weights_only = self.config.checkpoint.finetune
        same_layout = description["layout"] == describe_layout(self.config)
        if not weights_only:
            self._check_resumable(description, path)
            state["optimizer"] = training.engine.optimizer.sharded_state_dict(dict(state), is_loading=True,
                                                                       metadata=_OPTIMIZER_FORMAT)
            if same_layout:
                state["rng"] = _rng_state()
        loaded = dist_checkpointing.load(state, str(path))
        _load_model_state(models, loaded)
        if weights_only:
            training.engine.optimizer.reload_model_params()
            return path
        training.engine.optimizer.load_state_dict(loaded["optimizer"])
        if same_layout:
            restore_rng_states(loaded["rng"])
        training.state = TrainState(**description["train_state"])
        training.scheduler.load_state_dict(description["scheduler"])
        return path

    def _check_resumable(self, description: dict[str, Any], path: Path) -> None:
        stored, wanted = description["layout"], describe_layout(self.config)
        for name, key in (("use_distributed_optimizer", "parallel"), ("precision", "train")):
            if stored[name] != wanted[name]:
                raise CheckpointError(f"{path} was written with {name} {stored[name]}, the run has {wanted[name]}",
                                      "the optimizer's state is stored differently",
                                      f"set {key}.{name}={stored[name]}, or load the weights alone with "
                                      "checkpoint.finetune=true", f"{key}.{name}")
        batch = self.config.train.global_batch_size
        if description["global_batch_size"] != batch:
            warnings.warn(f"global_batch_size was {description['global_batch_size']} and is {batch}: the data goes on "
                          "at the same sample, the step count and rate by the new batch", stacklevel=2)


def load_model_weights(models: list[GPTModel], path: Path) -> dict[str, Any]:
    """Load the weights alone, at any layout, and return the checkpoint's description. Collective. What
    ``engine: deepspeed`` wrote is loaded at its own tensor parallel size.

    Raises:
        CheckpointError: the checkpoint cannot be read, or not at this layout.
    """
    if (path / DEEPSPEED_FOLDER).is_dir():
        from megatron_fugaku.checkpoint.deepspeed_checkpointer import load_deepspeed_weights

        [model] = models
        return load_deepspeed_weights(model, path)
    description = read_description(path)
    loaded = dist_checkpointing.load(_model_state(models), str(path))
    _load_model_state(models, loaded)
    return description
