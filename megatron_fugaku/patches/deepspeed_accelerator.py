"""DeepSpeed's own description of a device, for ranks of an MPI job on CPUs."""

from __future__ import annotations

import types
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from megatron_fugaku.patches.cuda_names import CPU


def fork_rng(devices: Iterable[Any] | None = None, enabled: bool = True, _caller: str = "fork_rng",
             _devices_kw: str = "devices", device_type: str = "cpu") -> AbstractContextManager[None]:
    """``torch.random.fork_rng`` on a CPU, whose one generator torch keeps in any case; it finds none by that name."""
    return torch.random.fork_rng(devices=[], enabled=enabled, device_type="cpu")


def _build_random() -> types.ModuleType:
    """Return ``torch.random`` with that one."""
    random = types.ModuleType(torch.random.__name__, torch.random.__doc__)
    random.__dict__.update({**vars(torch.random), "fork_rng": fork_rng})
    return random


def build_accelerator(original: Any) -> Any:
    """Return the accelerator that DeepSpeed shall have: its CPU, whose ranks are those of MPI.

    It differs from DeepSpeed's in five things: groups are of the MPI backend; a node has as many devices as ranks,
    whatever its NUMA nodes; the current one can be given to a factory; its random state can be forked; and there is no
    operator for an all-reduce in shared memory, which DeepSpeed would compile for minutes, since the backend has its
    own.
    """
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator

    from megatron_fugaku.comm.rank_info import rank_info

    random = _build_random()

    class MpiCpuAccelerator(CPU_Accelerator):
        """The CPUs of an MPI job."""

        def __init__(self) -> None:
            super().__init__()
            self._communication_backend_name = "mpi"

        def device_count(self) -> int:
            """Ranks on this node."""
            return rank_info().local_world_size

        def current_device(self) -> torch.device:
            """The CPU, as a factory takes it; DeepSpeed's own says the text of LOCAL_RANK, which none takes."""
            return CPU

        def random(self) -> types.ModuleType:
            """What ``torch.random`` has, for the name of this device too."""
            return random

        def create_op_builder(self, op_name: str) -> Any:
            """DeepSpeed's builder of an operator, None for what the backend does."""
            return None if op_name in ("ShareMemCommBuilder", "CCLCommBuilder") else super().create_op_builder(op_name)

    return MpiCpuAccelerator()
