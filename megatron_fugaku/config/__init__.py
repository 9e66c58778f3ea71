"""What a run is: one YAML file, checked before anything starts."""

from megatron_fugaku.config.check import check_config, data_parallel_size, padded_vocab_size
from megatron_fugaku.config.load import build_config, dump_config, load_config
from megatron_fugaku.config.schema import ModelConfig, ParallelConfig, RunConfig

__all__ = ["ModelConfig", "ParallelConfig", "RunConfig", "build_config", "check_config", "data_parallel_size",
           "dump_config", "load_config", "padded_vocab_size"]
