"""Saves and restores a run of ``engine: deepspeed`` in DeepSpeed's own format, within our atomic directories.

``iter_0000100/deepspeed`` is what DeepSpeed's tools read. For another tensor or data parallel size, its converter makes
a universal checkpoint beside it, which ``deepspeed.load_universal`` loads::

    python -m deepspeed.checkpoint.ds_to_universal --input_folder iter_0000100/deepspeed \\
        --output_folder iter_0000100/universal
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_fugaku.checkpoint.checkpointer import (
    DEEPSPEED_FOLDER,
    check_model_matches,
    collect_rng_states,
    describe_layout,
    find_checkpoint,
    on_main_rank,
    restore_rng_states,
)
from megatron_fugaku.checkpoint.store import CheckpointStore
from megatron_fugaku.config import ModelConfig, RunConfig
from megatron_fugaku.errors import CheckpointError
from megatron_fugaku.train.deepspeed_engine import import_deepspeed, leave_out_extra_states
from megatron_fugaku.train.loop import Training, TrainState

NATIVE, UNIVERSAL = DEEPSPEED_FOLDER, "universal"


def describe_parameters(config: ModelConfig, padded_vocab_size: int) -> dict[str, Any]:
    """Return what DeepSpeed's converter must know of megatron-core's parameters to put tensor-parallel ranks together.

    Its keys are those of ``deepspeed/checkpoint/constants.py``; patterns are for :func:`re.match`.
    """
    from deepspeed.checkpoint import constants

    norms = r".*(layernorm|layer_norm|final_layernorm)\.(weight|bias)"
    replicated = [norms, r".*linear_(proj|fc2)\.bias"] if config.add_bias_linear else [norms]
    if config.position_embedding_type == "learned_absolute":
        replicated.append(r".*position_embeddings\.weight")
    return {
        constants.UNIVERSAL_CHECKPOINT_VERSION_KEY: constants.UNIVERSAL_CHECKPOINT_VERSION_VALUE,
        constants.ORIGINAL_VOCAB_SIZE: padded_vocab_size,
        constants.PADDED_VOCAB_SIZE: padded_vocab_size,
        constants.VOCABULARY_PARAMETER_PATTERNS: [],
        constants.TP_REPLICATED_PARAMETER_PATTERNS: replicated,
        constants.PARAMETER_WITH_ROW_PARALLELISM_PATTERNS: [r".*linear_(proj|fc2)\.weight"],
        constants.PARAMETER_WITH_2_SUB_PARAMS_CAT_DIM_0: [r".*linear_fc1\.(weight|bias)"] if config.swiglu else [],
    }


def read_model_states(folder: Path, tensor_parallel_rank: int = 0) -> dict[str, Any]:
    """Return what DeepSpeed wrote of a tensor-parallel rank: the weights as ``module``, unless ZeRO 3 has them, and
    what :meth:`DeepSpeedCheckpointer.save` added.

    Raises:
        CheckpointError: there is no such rank.
    """
    file = next(iter(sorted(folder.glob(f"*mp_rank_{tensor_parallel_rank:02d}*model_states.pt"))), None)
    if file is None:
        raise CheckpointError(f"{folder} holds no model states of tensor-parallel rank {tensor_parallel_rank}",
                              "nothing can be loaded from it", "use another checkpoint", str(folder))
    return torch.load(file, map_location="cpu", weights_only=False, mmap=True)


def load_deepspeed_weights(model: GPTModel, path: Path) -> dict[str, Any]:
    """Load the weights alone at the tensor parallel size that wrote them, and return the checkpoint's description.

    Raises:
        CheckpointError: the size is another one, or the checkpoint cannot be read.
    """
    tensor_parallel_size = parallel_state.get_tensor_model_parallel_world_size()
    description = read_model_states(path / NATIVE)["description"]
    layout = description["layout"]
    if layout["tensor_model_parallel_size"] != tensor_parallel_size:
        raise CheckpointError(f"{path} was written with tensor_model_parallel_size "
                              f"{layout['tensor_model_parallel_size']}, here it is {tensor_parallel_size}",
                              "DeepSpeed keeps the weights of each tensor-parallel rank in a file of its own",
                              f"use {layout['tensor_model_parallel_size']} ranks", "tensor_model_parallel_size")
    if layout["zero_stage"] == 3:
        import_deepspeed()
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        with contextlib.redirect_stdout(sys.stderr):  # it tells of its work where a command's answer goes
            weights = get_fp32_state_dict_from_zero_checkpoint(str(path), tag=NATIVE)
    else:
        weights = read_model_states(path / NATIVE, parallel_state.get_tensor_model_parallel_rank())["module"]
    leave_out_extra_states(model)
    model.load_state_dict({name.removeprefix("module."): weight for name, weight in weights.items()})
    return description


class DeepSpeedCheckpointer:
    """The :class:`megatron_fugaku.train.Checkpointer` of ``engine: deepspeed``. All methods are collective.

    Args:
        config: the run; ``checkpoint`` and ``deepspeed`` say where and how.
    """

    def __init__(self, config: RunConfig):
        self.config = config

    def _describe_layout(self) -> dict[str, Any]:
        return {**describe_layout(self.config), "zero_stage": self.config.deepspeed.zero_stage}

    def save(self, training: Training) -> Path:
        """Write a checkpoint; it counts only once all ranks have written their part.

        Raises:
            CheckpointError: the directory cannot be written.
        """
        from deepspeed.checkpoint.constants import UNIVERSAL_CHECKPOINT_INFO

        iteration, model = training.state.iteration, self.config.model.resolved()
        store = CheckpointStore(self.config.checkpoint_directory)
        partial = on_main_rank(store.begin, iteration)
        description = {
            "train_state": asdict(training.state),
            "scheduler": training.scheduler.state_dict(),
            "model": model.model_dump(),
            "layout": self._describe_layout(),
        }
        training.engine.wrapped.save_checkpoint(str(partial), tag=NATIVE, save_latest=False, client_state={
            "description": description,
            "rng": collect_rng_states(),
            UNIVERSAL_CHECKPOINT_INFO: describe_parameters(model, training.engine.models[0].vocab_size),
        })
        torch.distributed.barrier()
        return on_main_rank(store.commit, iteration, self.config.checkpoint.keep_last)

    def load(self, training: Training) -> Path | None:
        """Restore weights, optimizer, schedule, random states and data position; bit for bit, but from a universal
        checkpoint random states start from the seed.

        Raises:
            CheckpointError: the checkpoint is damaged or does not fit.
        """
        path = on_main_rank(find_checkpoint, self.config)
        if path is None:
            return None
        tag = UNIVERSAL if self.config.deepspeed.load_universal else NATIVE
        on_main_rank(self._check_loadable, path, tag)
        weights_only = self.config.checkpoint.finetune
        groups = training.engine.optimizer.param_groups
        decays = [group["wd_mult"] for group in groups]
        _, client = training.engine.wrapped.load_checkpoint(
            str(path), tag=tag, load_module_only=weights_only, load_lr_scheduler_states=False)
        for group, decay in zip(groups, decays, strict=True):
            group["wd_mult"] = decay  # a universal checkpoint of ZeRO 3 gives all groups that of the first
        if weights_only:
            return path
        description = client["description"]
        if tag == NATIVE:
            restore_rng_states(client["rng"])
        training.state = TrainState(**description["train_state"])
        training.scheduler.load_state_dict(description["scheduler"])
        return path

    def _check_loadable(self, path: Path, tag: str) -> None:
        if not (path / tag).is_dir():
            raise CheckpointError(f"{path} has no folder {tag}", "engine is deepspeed and deepspeed.load_universal is "
                                  f"{self.config.deepspeed.load_universal}",
                                  f"python -m deepspeed.checkpoint.ds_to_universal --input_folder {path / NATIVE} "
                                  f"--output_folder {path / UNIVERSAL}" if tag == UNIVERSAL else
                                  "set engine=megatron, or load a checkpoint of this engine", "checkpoint.load")
        description = read_model_states(path / tag)["description"]
        check_model_matches(description["model"], self.config.model, path)
        stored, wanted = description["layout"], self._describe_layout()
        for name in wanted if tag == NATIVE else ("precision", "zero_stage"):
            if stored[name] == wanted[name]:
                continue
            if tag == NATIVE:
                why, fix = ("DeepSpeed's shards fit the layout that wrote them",
                            "choose that, or convert the checkpoint and set deepspeed.load_universal=true")
            elif name == "zero_stage" and 3 not in (stored[name], wanted[name]):
                continue
            else:
                why, fix = "a universal checkpoint keeps its precision, and goes neither to ZeRO 3 nor from it", \
                    "choose that"
            raise CheckpointError(f"{path} was written with {name} {stored[name]}, the run has {wanted[name]}", why,
                                  fix, name)
