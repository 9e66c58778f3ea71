"""Started under mpirun: trains the configurations argv[2:], with pokes by the kernels unless a name ends in "alone";
rank 0 writes to argv[1] how many data-parallel collectives there were, and how many were over before they were waited
for."""

import json
import sys
from pathlib import Path

import torch

from megatron_fugaku import comm, patches
from megatron_fugaku.config import load_config

comm.install_excepthook()
patches.prepare_imports()
patches.apply()
torch.distributed.init_process_group("mpi")

from megatron.core import parallel_state  # noqa: E402

from megatron_fugaku.checkpoint import DistCheckpointer  # noqa: E402
from megatron_fugaku.comm.extension import load_extension  # noqa: E402
from megatron_fugaku.kernels.extension import call_between_tiles  # noqa: E402
from megatron_fugaku.train import pretrain  # noqa: E402
from megatron_fugaku.train.runtime import axes_by_group, initialize_parallel  # noqa: E402

found = {}
for path in sys.argv[2:]:
    call_between_tiles(0 if Path(path).stem.endswith("alone") else load_extension().poke_address())
    config = load_config(path)
    initialize_parallel(config)
    comm.drain_trace()
    comm.set_tracing(True)
    pretrain(config, DistCheckpointer(config))
    comm.set_tracing(False)
    axes = axes_by_group()
    events = [event for event in comm.drain_trace() if axes.get(event.group_name) == "dp"]
    found[Path(path).stem] = {
        operation: [len(of_kind), sum(event.wait_start_s >= event.end_s for event in of_kind)]
        for operation in ("reduce_scatter", "all_gather")
        for of_kind in [[event for event in events if event.operation == operation]]}
    torch.distributed.barrier()
    parallel_state.destroy_model_parallel()
if torch.distributed.get_rank() == 0:
    Path(sys.argv[1]).write_text(json.dumps(found))
torch.distributed.destroy_process_group()
