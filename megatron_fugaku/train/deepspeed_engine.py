"""DeepSpeed's ZeRO 1 to 3 around megatron-core's model, in place of megatron-core's data parallelism and optimizer."""

from __future__ import annotations

import os
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku import patches
from megatron_fugaku.config import RunConfig
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.patches.adamw import FusedAdamW
from megatron_fugaku.train.step import DataReader, build_forward_step


class ParallelUnit:
    """megatron-core's groups by the names that DeepSpeed asks its ``mpu`` for."""

    get_model_parallel_rank = staticmethod(parallel_state.get_tensor_model_parallel_rank)
    get_model_parallel_world_size = staticmethod(parallel_state.get_tensor_model_parallel_world_size)
    get_model_parallel_group = staticmethod(parallel_state.get_tensor_model_parallel_group)
    get_tensor_model_parallel_rank = get_model_parallel_rank
    get_tensor_model_parallel_world_size = get_model_parallel_world_size
    get_tensor_model_parallel_group = get_model_parallel_group
    get_tensor_model_parallel_src_rank = staticmethod(parallel_state.get_tensor_model_parallel_src_rank)
    get_data_parallel_rank = staticmethod(parallel_state.get_data_parallel_rank)
    get_data_parallel_world_size = staticmethod(parallel_state.get_data_parallel_world_size)
    get_data_parallel_group = staticmethod(parallel_state.get_data_parallel_group)


def build_deepspeed_config(config: RunConfig, data_parallel_size: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a run: what its ``deepspeed_config`` file would hold."""
    train = config.train
    return {
        "train_batch_size": train.global_batch_size,
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        "gradient_accumulation_steps": train.global_batch_size // (train.micro_batch_size * data_parallel_size),
        "gradient_clipping": config.optimizer.clip_grad,
        "bf16": {"enabled": train.precision == "bf16"},
        "zero_optimization": {"stage": config.deepspeed.zero_stage, "stage3_param_persistence_threshold": 0},
        "zero_allow_untested_optimizer": True,
        "checkpoint": {"load_universal": config.deepspeed.load_universal},
        "steps_per_print": None,
    }


def build_parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups: as megatron-core's, biases and norms do not decay."""
    groups: list[list[torch.nn.Parameter]] = [[], []]
    for name, parameter in model.named_parameters():
        groups[name.endswith(".bias") or parameter.dim() == 1].append(parameter)
    return [{"params": parameters, "weight_decay": weight_decay * multiplier, "wd_mult": multiplier}
            for parameters, multiplier in zip(groups, (1.0, 0.0), strict=True)]


def leave_out_extra_states(module: torch.nn.Module) -> None:
    """Keep megatron-core's ``_extra_state`` entries, which are None on CPUs, out of saved states: DeepSpeed's converter
    takes everything for a tensor."""

    def drop(_: torch.nn.Module, state: dict[str, Any], *__: Any) -> None:
        for name in [name for name in state if name.endswith("._extra_state") and state[name] is None]:
            del state[name]

    def forgive(_: torch.nn.Module, keys: Any) -> None:
        keys.missing_keys[:] = [name for name in keys.missing_keys if not name.endswith("._extra_state")]

    module.register_state_dict_post_hook(drop)
    module.register_load_state_dict_post_hook(forgive)


class ShardAdamW(FusedAdamW):
    """AdamW that counts the steps of each parameter, as DeepSpeed's own optimizers do: ZeRO 3 lets the whole optimizer
    make a step for every part of a group."""

    def _count_step(self, group: dict[str, Any], params: list[torch.Tensor]) -> int:
        number = 0
        for param in params:
            number = self.state[param]["step"] = self.state[param].get("step", 0) + 1
        return number


def import_deepspeed() -> Any:
    """Return the package, with the patches that it needs.

    Raises:
        EnvironmentError: it is not installed.
        PatchError: a patch does not fit it.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    patches.patch_on_import(patch for patch in patches.PATCHES if patch.distribution == "deepspeed")
    try:
        import deepspeed
    except ImportError as error:
        raise EnvironmentError(f"DeepSpeed cannot be imported: {error}", "engine is deepspeed",
                               "pip install 'megatron-fugaku[deepspeed]', or set engine=megatron", "engine") from error
    return deepspeed


class DeepSpeedEngine:
    """A :class:`~megatron_fugaku.train.engine.Engine` of tensor-parallel ranks whose replicas ZeRO shards.

    Attributes:
        wrapped: what ``deepspeed.initialize`` returned.
    """

    def __init__(self, config: RunConfig, transformer_config: TransformerConfig, models: list[GPTModel]):
        deepspeed = import_deepspeed()
        options, [model] = config.optimizer, models
        module = Float16Module(transformer_config, model) if transformer_config.bf16 else model
        leave_out_extra_states(module)
        optimizer = ShardAdamW(build_parameter_groups(module, options.weight_decay), lr=options.lr,
                               betas=(options.adam_beta1, options.adam_beta2), eps=options.adam_eps)
        self.models = models
        self.wrapped, self.optimizer, _, _ = deepspeed.initialize(
            model=module, optimizer=optimizer, mpu=ParallelUnit, dist_init_required=False,
            config=build_deepspeed_config(config, parallel_state.get_data_parallel_world_size()))

    def start_step(self) -> None:
        """See :class:`~megatron_fugaku.train.engine.Engine`; :meth:`update` has forgotten the gradients."""
        self.wrapped.train()

    def run(self, reader: DataReader, dataset: Any, first_sample: int) -> float:
        """See :class:`~megatron_fugaku.train.engine.Engine`."""
        return self._run(reader, dataset, first_sample, learns=True)

    def update(self) -> tuple[float, bool]:
        """See :class:`~megatron_fugaku.train.engine.Engine`."""
        self.wrapped.step()
        return float(self.wrapped.get_global_grad_norm() or 0.0), not self.optimizer.overflow

    def start_validation(self) -> None:
        """See :class:`~megatron_fugaku.train.engine.Engine`."""
        self.wrapped.eval()

    def validate(self, reader: DataReader, dataset: Any, first_sample: int) -> float:
        """See :class:`~megatron_fugaku.train.engine.Engine`."""
        return self._run(reader, dataset, first_sample, learns=False)

    def finish_update(self) -> None:
        """Nothing is left: DeepSpeed gathers parameters within its step, or in every forward pass."""

    def _run(self, reader: DataReader, dataset: Any, first_sample: int, learns: bool) -> float:
        batches, num_microbatches = reader.batches(dataset, first_sample)
        forward_step, losses = build_forward_step(reader), []
        for index in range(num_microbatches):
            if learns:
                self.wrapped.set_gradient_accumulation_boundary(index == num_microbatches - 1)
            output, loss_func = forward_step(batches, self.wrapped)
            loss, reported = loss_func(output)
            losses.append(reported["lm_loss"])
            if learns:
                self.wrapped.backward(loss)
        return float(torch.stack(losses).double().mean())
