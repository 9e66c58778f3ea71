"""Started under mpirun: trains argv[2]; rank 1 sends itself SIGTERM in step 2, at the moment argv[1]."""

import os
import signal
import sys

import torch

from megatron_fugaku import comm, patches
from megatron_fugaku.config import load_config

comm.install_excepthook()
patches.prepare_imports()
patches.apply()
torch.distributed.init_process_group("mpi")

from megatron_fugaku.checkpoint import DistCheckpointer  # noqa: E402
from megatron_fugaku.train import pretrain  # noqa: E402
from megatron_fugaku.train.measure import TIME_KEYS  # noqa: E402
from megatron_fugaku.train.runtime import initialize_parallel  # noqa: E402

MOMENT = sys.argv[1]


def signal_rank_1(moment: str, step: int) -> None:
    if moment == MOMENT and step == 2 and torch.distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGTERM)


class SignalledCheckpointer(DistCheckpointer):
    """Saves as always, with the signal before."""

    def save(self, training):
        signal_rank_1("save", training.state.iteration)
        return super().save(training)


class SignalledAllReduce:
    """Counts the sums in which the ranks agree, one a step, and lets the signal come within one."""

    def __init__(self, all_reduce):
        self.all_reduce, self.steps = all_reduce, 0

    def __call__(self, tensor, *args, **kwargs):
        if tensor.dtype == torch.float64 and tensor.numel() == 2 + len(TIME_KEYS):
            self.steps += 1
            signal_rank_1("all_reduce", self.steps)
        return self.all_reduce(tensor, *args, **kwargs)


config = load_config(sys.argv[2])
initialize_parallel(config)
torch.distributed.all_reduce = SignalledAllReduce(torch.distributed.all_reduce)
pretrain(config, SignalledCheckpointer(config))
torch.distributed.destroy_process_group()
