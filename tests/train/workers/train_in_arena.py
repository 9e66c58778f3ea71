"""Started under mpirun: trains the configurations argv[2:], whose names end in a use of the arena; rank 0 writes to
argv[1] what lay there and by which ways collectives of long vectors went."""

import collections
import json
import os
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
from megatron_fugaku.comm import arena  # noqa: E402
from megatron_fugaku.train import pretrain  # noqa: E402
from megatron_fugaku.train.runtime import axes_by_group, initialize_parallel  # noqa: E402


class Onlooker(DistCheckpointer):
    """Looks at the buffers when training begins."""

    def load(self, training):
        buffers = [buffer for chunk in training.engine.chunks for buffer in chunk.buffers]
        self.held = [arena.holds(data) for buffer in buffers for data in (buffer.grad_data, buffer.param_data)
                     if data is not None]
        return super().load(training)


found = {}
for path in sys.argv[2:]:
    use = Path(path).stem.rpartition("_")[2]
    os.environ["MFUGAKU_COMM_ARENA"] = use
    config = load_config(path)
    initialize_parallel(config)
    comm.drain_trace()
    comm.set_tracing(True)
    onlooker = Onlooker(config)
    pretrain(config, onlooker)
    comm.set_tracing(False)
    axes = axes_by_group()
    long = [event for event in comm.drain_trace() if event.group_name in axes and event.num_bytes >= arena.MIN_BYTES]
    ways = collections.Counter(f"{axes[event.group_name]} {event.operation}: {event.way}" for event in long)
    found[Path(path).stem] = {"held": onlooker.held, "ways": ways}
    arena.place_tensors(None)
    torch.distributed.barrier()
    parallel_state.destroy_model_parallel()
if torch.distributed.get_rank() == 0:
    Path(sys.argv[1]).write_text(json.dumps(found))
torch.distributed.destroy_process_group()
