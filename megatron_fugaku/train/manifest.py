"""The manifest of a run: what was installed, patched and started, so that it can be told apart and repeated."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from typing import Any

import torch

from megatron_fugaku import __version__, comm, patches
from megatron_fugaku.atomic_file import write_text_atomically
from megatron_fugaku.config import RunConfig, dump_config
from megatron_fugaku.kernels.extension import explain_implementations
from megatron_fugaku.patches.upstreams import MEGATRON_CORE, find_version

_DISTRIBUTIONS = ("torch", "numpy", "sentencepiece", "pydantic")


def describe_run(config: RunConfig, world_size: int, num_parameters: int, vocab_size: int) -> dict[str, Any]:
    """Return the manifest.

    Args:
        config: the run.
        world_size: ranks.
        num_parameters: of the whole model.
        vocab_size: padded vocabulary.
    """
    parallel = config.parallel
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    data_manifest = config.data.manifest
    distributions = (*_DISTRIBUTIONS, "deepspeed") if config.engine == "deepspeed" else _DISTRIBUTIONS
    return {
        "megatron_fugaku": __version__,
        "versions": {"python": platform.python_version(), "mpi": comm.mpi_library_version(),
                     **{name: importlib.metadata.version(name) for name in distributions},
                     # What is imported, which a checkout on the import path may bring.
                     MEGATRON_CORE: find_version(MEGATRON_CORE)},
        "machine": {"node": platform.node(), "architecture": platform.machine(), "system": platform.platform(),
                    "threads_per_rank": torch.get_num_threads(), "cpus_of_rank_0": len(os.sched_getaffinity(0))},
        "world_size": world_size,
        "tensor_model_parallel_size": tp,
        "pipeline_model_parallel_size": pp,
        "data_parallel_size": world_size // (tp * pp),
        "num_parameters": num_parameters,
        "padded_vocab_size": vocab_size,
        "patches": patches.ledger(),
        "kernels": explain_implementations(config.train.precision),
        "comm": {**comm.build_info(), "wire_dtype": comm.wire_formats()},
        "data_manifest": None if data_manifest is None else {
            "path": str(data_manifest), "sha256": hashlib.sha256(data_manifest.read_bytes()).hexdigest()},
        "command": sys.argv,
    }


def write_run_files(config: RunConfig, manifest: dict[str, Any]) -> None:
    """Write ``config.yaml`` and ``manifest.json`` into the run folder."""
    config.directory.mkdir(parents=True, exist_ok=True)
    write_text_atomically(config.directory / "config.yaml", dump_config(config))
    write_text_atomically(config.directory / "manifest.json", json.dumps(manifest, indent=1, default=str) + "\n")
