"""What computes gradients and turns them into new parameters: megatron-core's data parallelism and optimizer, or, in
:mod:`.deepspeed_engine`, DeepSpeed's."""

from __future__ import annotations

from typing import Any, Protocol

from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku.config import RunConfig
from megatron_fugaku.train import optimizer as optimization
from megatron_fugaku.train.step import DataReader, run_schedule, update_parameters


class Engine(Protocol):
    """The model of this rank in training. All methods but :meth:`start_step` are collective."""

    #: The chunks of the model that this rank holds.
    models: list[GPTModel]
    #: Has ``param_groups``, whose ``lr`` and ``weight_decay`` the schedule sets.
    optimizer: Any

    def start_step(self) -> None:
        """Forget the gradients, and train from here on."""

    def run(self, reader: DataReader, dataset: Any, first_sample: int) -> float:
        """Add up the gradients of a global batch; return :func:`.step.run_schedule`'s loss."""

    def update(self) -> tuple[float, bool]:
        """Clip and apply the gradients unless their norm is not finite; return
        (gradient norm before clipping, whether the parameters were updated)."""

    def start_validation(self) -> None:
        """Neither drop out nor learn from here on."""

    def validate(self, reader: DataReader, dataset: Any, first_sample: int) -> float:
        """Return the loss of a global batch as :meth:`run` does, without gradients."""

    def finish_update(self) -> None:
        """Complete what :meth:`update` left to the next forward pass, so that parameters can be read."""


class MegatronEngine:
    """megatron-core's DistributedDataParallel, pipeline schedules and optimizer; see :class:`Engine`.

    Attributes:
        chunks: the models in their wrappers.
    """

    def __init__(self, config: RunConfig, transformer_config: TransformerConfig, models: list[GPTModel]):
        self._config = config
        self.models = models
        self.chunks = optimization.wrap_data_parallel(config, transformer_config, models)
        optimization.connect_schedule(config, transformer_config, self.chunks)
        self.optimizer = optimization.build_optimizer(config, transformer_config, self.chunks)

    def start_step(self) -> None:
        """See :class:`Engine`."""
        for chunk in self.chunks:
            chunk.train()
            chunk.zero_grad_buffer()
        self.optimizer.zero_grad()

    def run(self, reader: DataReader, dataset: Any, first_sample: int) -> float:
        """See :class:`Engine`."""
        return run_schedule(self._config, self.chunks, reader, dataset, first_sample, False)

    def update(self) -> tuple[float, bool]:
        """See :class:`Engine`."""
        return update_parameters(self.optimizer)

    def start_validation(self) -> None:
        """See :class:`Engine`."""
        for chunk in self.chunks:
            chunk.eval()
        self.finish_update()

    def validate(self, reader: DataReader, dataset: Any, first_sample: int) -> float:
        """See :class:`Engine`."""
        return run_schedule(self._config, self.chunks, reader, dataset, first_sample, True)

    def finish_update(self) -> None:
        """Gather the parameters whose gathering ``overlap_param_gather`` left to the next forward pass."""
        if self._config.parallel.overlap_param_gather:
            for chunk in self.chunks:
                chunk.start_param_sync(force_sync=True)


def build_engine(config: RunConfig, transformer_config: TransformerConfig, models: list[GPTModel]) -> Engine:
    """Return the engine that ``config.engine`` names."""
    if config.engine == "megatron":
        return MegatronEngine(config, transformer_config, models)
    from megatron_fugaku.train.deepspeed_engine import DeepSpeedEngine

    return DeepSpeedEngine(config, transformer_config, models)
