"""Registers the backend with torch.distributed, and lets it answer to the name "mpi".

torch decides about the name "mpi" before it looks at registered backends, so functions are wrapped to translate it:
``init_process_group``, which also finds rank, size and a store without any environment variable, ``new_group``, and the
two that answer or ask for a backend's name (:mod:`~megatron_fugaku.comm.names`). The wrappers do nothing but that, and
only when the name is used.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

from megatron_fugaku import environment
from megatron_fugaku.comm import arena, wire
from megatron_fugaku.comm.endings import install_excepthook
from megatron_fugaku.comm.extension import load_extension
from megatron_fugaku.comm.measured import shared_measured
from megatron_fugaku.comm.names import (
    BACKEND,
    call,
    called,
    default_backend,
    is_answered,
    name_of,
    translated,
    wrap_get_backend,
    wrap_monitored_barrier,
)
from megatron_fugaku.comm.placement import PlacedJob, read_placement
from megatron_fugaku.comm.rank_info import RankInfo, rank_info
from megatron_fugaku.comm.recorder import record_flight
from megatron_fugaku.errors import CommError
from megatron_fugaku.mpi_choice import find_launcher
from megatron_fugaku.mpi_families import FAMILY_TITLES

# MPI ranks by torch rank of the default group; meaningless while that group is of another backend.
_mpi_rank_of: list[int] = []
# Where the ranks of the job are, by MPI rank; None unless a file says it.
_placed_job: PlacedJob | None = None
# Address and port that this module wrote into the environment for others: groups of ours meet over MPI all the same.
_own_rendezvous: tuple[str | None, str | None] | None = None


def _warn_without_pmix(extension, info: RankInfo) -> None:
    """Say on rank 0 that srun and Open MPI will not find together, if so; Open MPI's own words name other remedies."""
    is_srun = info.launcher in ("slurm", "pmi") and "SLURM_STEP_NUM_TASKS" in os.environ and info.world_size > 1
    if is_srun and info.rank == 0 and "PMIX_RANK" not in os.environ and \
            extension.build_facts()["mpi_vendor"] == "Open MPI":
        print("mfugaku: srun started these ranks without PMIx, and this MPI is Open MPI, which is rarely built with "
              "anything else. If MPI cannot start, use `srun --mpi=pmix` (`srun --mpi=list` says what yours knows).",
              file=sys.stderr, flush=True)


def _refuse_another_mpi(info: RankInfo) -> None:
    """Raise before MPI starts what an MPI other than the launcher's would end in: some do not even start there."""
    forced, launcher = environment.get("MFUGAKU_MPI"), find_launcher()
    if forced and launcher and launcher.is_certain and launcher.family != forced and info.world_size > 1:
        raise CommError(
            f"the launcher ({info.launcher}) started {info.world_size} processes, but MFUGAKU_MPI asks for "
            f"{FAMILY_TITLES.get(forced, forced)}, which would see 1", "the ranks would train apart from each other",
            "unset it, or start them with the mpirun of that MPI", "MFUGAKU_MPI")


def _start_mpi() -> tuple[int, int]:
    """Initialise MPI once; return this process's rank and the number of processes.

    Raises:
        CommError: the launcher started more or fewer processes than MPI sees.
    """
    extension = load_extension()
    info = rank_info()
    transport = environment.get("MFUGAKU_COMM_TRANSPORT")
    is_first_call = not extension.is_ready()
    if is_first_call:
        _refuse_another_mpi(info)
        atexit.register(extension.stop_thread)
        _warn_without_pmix(extension, info)
        arena.prepare()
    rank, size = extension.initialize(
        progress_thread=environment.get("MFUGAKU_COMM_PROGRESS_THREAD") or
        environment.get("MFUGAKU_COMM_PROGRESS_CORE") >= 0,
        progress_core=environment.get("MFUGAKU_COMM_PROGRESS_CORE"),
        tracing=environment.get("MFUGAKU_COMM_TRACE"),
        timeout_s=environment.get("MFUGAKU_COMM_TIMEOUT_S"),
        shared_memory=transport is not environment.Transport.MPI,
        utofu=transport is environment.Transport.UTOFU,
        ranks_per_node=environment.get("MFUGAKU_COMM_RANKS_PER_NODE"),
    )
    if info.launcher not in ("none", "torchrun") and info.world_size != size:
        facts = extension.build_facts()
        raise CommError(
            f"the launcher ({info.launcher}) started {info.world_size} processes, but {facts['mpi_vendor']} "
            f"{facts['mpi_version']} sees {size}",
            "the ranks would train apart from each other",
            "start them with the mpirun of this MPI, or with the PMI it was built for: `srun --mpi=list` names what "
            "Slurm has, usually pmix for Open MPI and pmi2 for MPICH",
            "srun --mpi",
        )
    if size > 1:
        install_excepthook()
    if is_first_call:
        shared_measured(extension, rank).apply(extension)
        # Here, because torch imports this module, and the kernels import torch.
        from megatron_fugaku.kernels.extension import call_between_tiles

        call_between_tiles(extension.poke_address())
    if is_first_call and environment.get("MFUGAKU_COMM_PLACEMENT"):
        _place_job(extension, size)
    if is_first_call and environment.get("MFUGAKU_COMM_FLIGHT_DIR"):
        record_flight(environment.get("MFUGAKU_COMM_FLIGHT_DIR"))
    return rank, size


def _place_job(extension, num_ranks: int) -> None:
    """Read where the ranks are. MFUGAKU_COMM_PLACEMENT must be alike on all ranks.

    Raises:
        CommError: the file cannot be used, or is for another number of ranks.
    """
    global _placed_job
    placement = read_placement(Path(environment.get("MFUGAKU_COMM_PLACEMENT")))
    is_apart = environment.get("MFUGAKU_COMM_TRANSPORT") is environment.Transport.MPI
    _placed_job = PlacedJob(placement, num_ranks, None if is_apart else extension.nodes())


def placed_job() -> PlacedJob | None:
    """Return where MFUGAKU_COMM_PLACEMENT says the ranks are; None when it is not set, or MPI has not started."""
    return _placed_job


def _timeout_s(group_timeout) -> float:
    """The group's timeout, cut to MFUGAKU_COMM_TIMEOUT_S where that is set."""
    limit_s = group_timeout.total_seconds()
    if "MFUGAKU_COMM_TIMEOUT_S" in os.environ:
        limit_s = min(limit_s, environment.get("MFUGAKU_COMM_TIMEOUT_S"))
    return limit_s


def _check_size(rank: int, world_size: int, num_processes: int) -> None:
    """Refuse a rank that is none of its default group, which nobody could wait for, and a group of too many.

    Raises:
        CommError: naming what does not fit.
    """
    if not 0 <= rank < world_size <= num_processes:
        raise CommError(
            f"rank {rank} asks for a process group of {world_size} ranks, and MPI started {num_processes} processes",
            "every rank is a process of the job, and its number is below that of the ranks",
            "start as many processes as WORLD_SIZE says, leave RANK and WORLD_SIZE unset, or let only those processes "
            "ask whose RANK is below WORLD_SIZE",
            "WORLD_SIZE",
        )


def _exchange_ranks(torch_rank: int, world_size: int, store: dist.Store | None = None) -> list[int]:
    """Return the MPI ranks in the order of the torch ranks, which may differ. Collective over the group: where that is
    not the whole job, its members need a store to tell each other.

    Raises:
        CommError: they do not call themselves ranks 0 to ``world_size`` - 1, or have no store.
    """
    mpi_rank, num_processes = _start_mpi()
    if world_size < num_processes:
        if store is None:
            raise CommError(
                f"{world_size} of the {num_processes} processes that MPI started ask for a process group",
                "processes meet outside MPI where not all of them come, and there is no address for that",
                "set MASTER_ADDR and MASTER_PORT, give init_process_group a store, or leave RANK and WORLD_SIZE unset",
                "MASTER_ADDR")
        return _exchange_through(store, torch_rank, world_size, mpi_rank)
    torch_ranks = load_extension().all_gather_int(torch_rank)
    if sorted(torch_ranks) != list(range(world_size)):
        raise CommError(
            f"the processes call themselves ranks {torch_ranks}, which are not 0 to {world_size - 1} once each",
            "every rank must exist exactly once",
            "set RANK differently for every process, or leave RANK and WORLD_SIZE unset",
            "RANK",
        )
    return [torch_ranks.index(rank) for rank in range(world_size)]


def _exchange_through(store: dist.Store, rank: int, size: int, mpi_rank: int) -> list[int]:
    """Return the MPI ranks of a group's members, who tell each other through the store.

    The last one to read removes what was told: programs make several groups, one after the other, with one store. None
    tells anything new before all have read: the communicator, which needs all of them, comes between.
    """
    store.set(f"mpi_rank/{rank}", str(mpi_rank))
    mpi_ranks = [int(store.get(f"mpi_rank/{member}")) for member in range(size)]
    if mpi_ranks[rank] != mpi_rank:
        raise CommError(f"processes {mpi_rank} and {mpi_ranks[rank]} of the job both call themselves rank {rank}",
                        "every rank must exist exactly once", "set RANK differently for every process", "RANK")
    if store.add("mpi_rank/readers", 1) == size:
        for key in (*(f"mpi_rank/{member}" for member in range(size)), "mpi_rank/readers"):
            store.delete_key(key)
    return mpi_ranks


def _create_backend(options, _backend_options=None):
    """Make the backend of one process group; torch calls this on the group's members."""
    rank, size = options.group_rank, options.group_size
    global_ranks = list(options.global_ranks_in_group)
    if not global_ranks:
        _mpi_rank_of[:] = _exchange_ranks(rank, size, options.store)
        mpi_ranks = list(_mpi_rank_of)
    elif _is_ours(dist.get_backend_config()):
        mpi_ranks = [_mpi_rank_of[global_rank] for global_rank in global_ranks]
    else:
        # The default group is of another backend.
        mpi_ranks = _exchange_through(options.store, rank, size, _start_mpi()[0])
    backend = load_extension().MpiBackend(options.group_id, mpi_ranks, rank, _timeout_s(options.timeout))
    arena.place_tensors_if_wanted()
    if _placed_job is not None:
        _placed_job.give_lanes(backend, mpi_ranks, rank)
    return backend


def _own_address(extension) -> str:
    """Return an address of this node that every rank can reach."""
    if os.environ.get("MASTER_ADDR"):
        return os.environ["MASTER_ADDR"]
    if len(set(extension.nodes())) == 1:
        return "127.0.0.1"
    # Connecting a UDP socket sends nothing, but chooses the network interface that leads outwards.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _rendezvous() -> tuple[str | None, str | None]:
    return os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def set_rendezvous() -> None:
    """Write into the environment what programs and libraries read there instead of asking MPI: RANK, WORLD_SIZE,
    LOCAL_RANK, LOCAL_WORLD_SIZE, and MASTER_ADDR and MASTER_PORT, a port that was free on rank 0's node. What is set
    already stays. A second call does nothing.

    Starts MPI and is collective over the job, but for a process that no launcher started: tools that read text and fork
    need no MPI."""
    global _own_rendezvous
    if _own_rendezvous is not None:
        return
    info = rank_info()
    rank, size = 0, 1
    if info.launcher == "none":
        meeting = f"127.0.0.1 {_free_port()}"
    else:
        rank, size = _start_mpi()
        extension = load_extension()
        address = _own_address(extension)
        meeting = extension.broadcast_text(f"{address} {_free_port()}" if rank == 0 else "", 0)
    address, port = meeting.split()
    for name, value in (("RANK", rank), ("WORLD_SIZE", size), ("LOCAL_RANK", info.local_rank),
                        ("LOCAL_WORLD_SIZE", info.local_world_size)):
        os.environ.setdefault(name, str(value))
    if _rendezvous() == (None, None):
        os.environ.update(MASTER_ADDR=address, MASTER_PORT=port)
    _own_rendezvous = (address, port)


def _build_store(rank: int, world_size: int, timeout) -> dist.Store:
    """Make a TCPStore on a free port of rank 0's node; its address travels over MPI. Collective over the job."""
    extension = load_extension()
    root = _exchange_ranks(rank, world_size)[0]
    address = _own_address(extension)
    if rank == 0:
        store = dist.TCPStore(address, 0, world_size, is_master=True, wait_for_workers=False, timeout=timeout)
        extension.broadcast_text(f"{address} {store.port}", root)
        return store
    address, port = extension.broadcast_text("", root).split()
    return dist.TCPStore(address, int(port), world_size, is_master=False, wait_for_workers=False, timeout=timeout)


def _is_ours(backend: Any) -> bool:
    return isinstance(backend, str) and BACKEND in backend.replace(":", ",").split(",")


def _number(explicit: int, variable: str, otherwise: int) -> int:
    """An explicit argument, else the environment variable, else what MPI says."""
    return explicit if explicit != -1 else int(os.environ.get(variable, otherwise))


def _complete_arguments(arguments: dict[str, Any]) -> None:
    """Fill in rank, world_size and store of an ``init_process_group`` call from MPI."""
    mpi_rank, num_processes = _start_mpi()
    rank = arguments["rank"] = _number(arguments.get("rank", -1), "RANK", mpi_rank)
    world_size = arguments["world_size"] = _number(arguments.get("world_size", -1), "WORLD_SIZE", num_processes)
    _check_size(rank, world_size, num_processes)
    has_rendezvous = arguments.get("init_method") not in (None, "env://") or (
        {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
        and (_rendezvous() != _own_rendezvous or world_size < num_processes)
    )
    if arguments.get("store") is None and not has_rendezvous:
        arguments["store"] = _build_store(rank, world_size, arguments.get("timeout") or dist.default_pg_timeout)
        arguments["init_method"] = None
    # Libraries that ask the environment and not torch.distributed find the same answers there.
    info = rank_info()
    for name, value in (
        ("RANK", rank),
        ("WORLD_SIZE", world_size),
        ("LOCAL_RANK", info.local_rank),
        ("LOCAL_WORLD_SIZE", info.local_world_size),
    ):
        os.environ.setdefault(name, str(value))


def _wrap_init_process_group(original: Callable) -> Callable:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init_process_group(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        wish = arguments.get("backend")
        arguments["backend"] = translated(wish) or default_backend()
        if _is_ours(arguments["backend"]):
            _complete_arguments(arguments)
        result = original(**arguments)
        if _is_ours(arguments["backend"]):
            load_extension().describe_group(dist.group.WORLD.group_name, "all ranks")
            wire.apply_to(dist.group.WORLD, "")
        if is_answered(wish):
            call(dist.group.WORLD, called(wish))
        return result

    return init_process_group


def _wrap_new_group(original: Callable) -> Callable:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def new_group(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        wish, arguments["backend"] = arguments.get("backend"), translated(arguments.get("backend"))
        if _is_ours(arguments["backend"]):
            _start_mpi()  # collective over the job: the ranks outside the group come here, and not to its creation
        group = original(**arguments)
        name = called(wish) if is_answered(wish) else None if wish else name_of(None)
        if isinstance(group, dist.ProcessGroup) and name:
            call(group, name)
        description = arguments.get("group_desc")
        if description and isinstance(group, dist.ProcessGroup) and load_extension().is_ready():
            load_extension().describe_group(group.group_name, description)
        wire.apply_to(group, description or "")
        return group

    return new_group


def register() -> None:
    """Register the backend ``mfugaku``, and the name "mpi" unless torch has an MPI of its own. Idempotent."""
    if BACKEND.upper() in dist.Backend._plugins:
        return
    dist.Backend.register_backend(BACKEND, _create_backend, extended_api=True, devices=["cpu"])
    if dist.is_mpi_available():
        return
    for name, wrap in (("init_process_group", _wrap_init_process_group), ("new_group", _wrap_new_group),
                       ("get_backend", wrap_get_backend), ("monitored_barrier", wrap_monitored_barrier)):
        wrapper = wrap(getattr(c10d, name))
        setattr(c10d, name, wrapper)
        setattr(dist, name, wrapper)
    c10d._MPI_AVAILABLE = True  # what dist.is_mpi_available() answers
