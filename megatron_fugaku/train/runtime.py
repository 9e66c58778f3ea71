"""Starts and ends what every rank needs: MPI, patches, megatron-core's groups and seeds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import torch

from megatron_fugaku import comm, environment, patches
from megatron_fugaku.comm.registration import placed_job
from megatron_fugaku.config import RunConfig, data_parallel_size
from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.flight import FOLDER
from megatron_fugaku.freed_memory import keep_freed_memory
from megatron_fugaku.kernels.extension import choose_implementations

PIPELINE_SEED_OFFSET = 100


def initialize_parallel(config: RunConfig) -> None:
    """Build megatron-core's groups, with the wire formats of ``comm.wire_dtype``, and seed its random states, as
    Megatron does; MPI must be initialised.

    No gloo group is made: every operation goes through the MPI backend.
    """
    from megatron.core import parallel_state, tensor_parallel

    comm.set_wire_rules(",".join(f"{name}={wire}" for name, wire in config.comm.wire_dtype.model_dump().items()))
    choose_implementations(config.kernels.model_dump())
    parallel = config.parallel
    if placed_job() is not None:
        placed_job().placement.check_layout(
            parallel.tensor_model_parallel_size, data_parallel_size(config, torch.distributed.get_world_size()),
            parallel.pipeline_model_parallel_size)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=parallel.tensor_model_parallel_size,
        pipeline_model_parallel_size=parallel.pipeline_model_parallel_size,
        virtual_pipeline_model_parallel_size=parallel.virtual_pipeline_model_parallel_size,
        create_gloo_process_groups=False,
    )
    seed = config.train.seed + PIPELINE_SEED_OFFSET * parallel_state.get_pipeline_model_parallel_rank()
    torch.manual_seed(seed)
    tensor_parallel.model_parallel_cuda_manual_seed(seed)


def _record_flight(config: RunConfig) -> None:
    try:
        comm.record_flight(config.directory / FOLDER)
    except EnvironmentError as error:  # not worth ending a run for
        if comm.rank_info().rank == 0:
            print(f"mfugaku: {error}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def distributed_runtime(config: RunConfig, has_flight_recorder: bool = False) -> Iterator[None]:
    """Run the body with patches applied, the MPI backend started and megatron-core's parallel state ready.

    With ``has_flight_recorder``, all operations of the ranks are recorded in the run folder.

    An exception in the body ends the whole job (:func:`megatron_fugaku.comm.install_excepthook`): the other ranks
    would otherwise wait for this one for ever.
    """
    comm.install_excepthook()
    keep_freed_memory()
    patches.apply()
    torch.distributed.init_process_group("mpi")
    if has_flight_recorder and not environment.get("MFUGAKU_COMM_FLIGHT_DIR"):
        _record_flight(config)
    initialize_parallel(config)
    yield
    finalize()


def finalize() -> None:
    """Destroy the groups, in the order that megatron-core and torch need."""
    from megatron.core import parallel_state

    torch.distributed.barrier()
    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()


def axes_by_group() -> dict[str, str]:
    """Return which parallel dimension each process group serves: its name to ``tp``, ``pp`` or ``dp``."""
    from megatron.core import parallel_state

    groups = {
        "dp": (parallel_state.get_data_parallel_group(), parallel_state.get_data_parallel_group(
            with_context_parallel=True)),
        "pp": (parallel_state.get_pipeline_model_parallel_group(),
               parallel_state.get_embedding_group(check_initialized=False)),
        "tp": (parallel_state.get_tensor_model_parallel_group(),),
    }
    return {
        group.group_name: axis
        for axis, members in groups.items() for group in members
        if isinstance(group, torch.distributed.ProcessGroup)
    }
