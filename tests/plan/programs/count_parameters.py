"""Started under mpirun: builds this rank's model of a configuration and prints how many parameters it holds."""

import json
import sys

from megatron_fugaku.config import load_config
from megatron_fugaku.train.runtime import distributed_runtime

config = load_config(sys.argv[1], sys.argv[2:])
with distributed_runtime(config):
    import torch
    from megatron.core import parallel_state

    from megatron_fugaku.model.build import build_model_chunks
    from megatron_fugaku.model.transformer import build_transformer_config

    stage = parallel_state.get_pipeline_model_parallel_rank()
    chunks = build_model_chunks(config, build_transformer_config(config, stage), config.model.vocab_size)
    count = sum(parameter.numel() for chunk in chunks for parameter in chunk.parameters())
    print(json.dumps({"rank": torch.distributed.get_rank(), "stage": stage, "count": count}), flush=True)
