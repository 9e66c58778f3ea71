"""Started under mpirun: builds this rank's models of configurations of one layout; prints their parameter counts."""

import json
import sys

from megatron_fugaku.config import load_config
from megatron_fugaku.train.runtime import distributed_runtime

configs = {path: load_config(path) for path in sys.argv[1:]}
with distributed_runtime(next(iter(configs.values()))):
    import torch
    from megatron.core import parallel_state

    from megatron_fugaku.model.build import build_model_chunks
    from megatron_fugaku.model.transformer import build_transformer_config

    stage = parallel_state.get_pipeline_model_parallel_rank()
    counts = []
    for config in configs.values():
        chunks = build_model_chunks(config, build_transformer_config(config, stage), config.model.vocab_size)
        counts.append(sum(parameter.numel() for chunk in chunks for parameter in chunk.parameters()))
    print(json.dumps({"rank": torch.distributed.get_rank(), "stage": stage, "counts": counts}), flush=True)
