"""Started under mpirun: trains several configurations one after the other in the same processes."""

import sys

import torch

from megatron_fugaku import comm, patches
from megatron_fugaku.config import check_config, load_config

comm.install_excepthook()
patches.prepare_imports()
patches.apply()
torch.distributed.init_process_group("mpi")

from megatron.core import parallel_state  # noqa: E402

from megatron_fugaku.checkpoint import build_checkpointer  # noqa: E402
from megatron_fugaku.comm.extension import load_extension  # noqa: E402
from megatron_fugaku.train import pretrain  # noqa: E402
from megatron_fugaku.train.runtime import initialize_parallel  # noqa: E402

for path in sys.argv[1:]:
    config = load_config(path)
    check_config(config, torch.distributed.get_world_size())
    initialize_parallel(config)
    pretrain(config, build_checkpointer(config))
    groups = torch.distributed.distributed_c10d._world.pg_map
    backends = {type(group._get_backend(torch.device("cpu"))) for group in groups}
    assert backends == {load_extension().MpiBackend}, f"a group of {backends} on the training path"
    torch.distributed.barrier()
    parallel_state.destroy_model_parallel()
torch.distributed.destroy_process_group()
