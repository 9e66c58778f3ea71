"""Megatron-LM's training programs on CPUs."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from megatron_fugaku.errors import ConfigError
from megatron_fugaku.patches.cuda_names import is_cuda
from megatron_fugaku.patches.options import allow_choice, refuse_options, wrap_parse_args
from megatron_fugaku.patches.stand_ins import absent_function


def build_initialize_megatron(original: Callable) -> Callable:
    """Return ``initialize_megatron`` that does not insist on CUDA, by upstream's own argument for that, and refuses
    Transformer Engine where there is none: here, since parsing is also done for what never builds a model of it."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def initialize_megatron(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        if "parsed_args" not in signature.parameters:  # since 0.18, programs parse before
            from megatron.training import get_args

            options = get_args()
        else:
            if arguments.get("parsed_args") is None:
                from megatron.training.arguments import parse_args

                arguments["parsed_args"] = parse_args(arguments.get("extra_args_provider"),
                                                      arguments.get("ignore_unknown_args", False))
            options = arguments["parsed_args"]
        _check_implementation(options)
        return original(**{**arguments, "allow_no_cuda": True})

    return initialize_megatron


def build_device_arch_version(original: Callable) -> Callable:
    """Return ``get_device_arch_version`` that answers 0: there is no CUDA device, so none of an architecture."""

    def get_device_arch_version() -> int:
        """No architecture."""
        return 0

    return get_device_arch_version


def build_batch_invariant_kernels(original: None) -> ModuleType:
    """Return ``batch_invariant_kernels`` for machines without Triton, of which they are. Start-up imports them, and
    uses them with ``--batch-invariant-mode``."""
    name = "megatron.core.transformer.custom_layers.batch_invariant_kernels"
    module = ModuleType(name)
    for function in ("enable_batch_invariant_mode", "disable_batch_invariant_mode", "set_batch_invariant_mode"):
        setattr(module, function, absent_function(f"{name}.{function}", "its kernels need Triton and a GPU",
                                                  "leave --batch-invariant-mode out"))
    module.is_batch_invariant_mode_enabled = lambda: False
    return module


def build_is_te_min_version(original: Callable) -> Callable:
    """Return ``is_te_min_version`` that answers no where there is no Transformer Engine. Upstream's version of it is
    None then, which does not compare."""

    @functools.wraps(original)
    def is_te_min_version(*args: Any, **kwargs: Any) -> bool:
        return importlib.util.find_spec("transformer_engine") is not None and original(*args, **kwargs)

    return is_te_min_version


def build_is_tensor(original: Callable) -> Callable:
    """Return ``_is_cuda`` that wants a tensor, wherever it is."""

    def _is_cuda(tensor: torch.Tensor | None) -> None:
        assert tensor is not None

    return _is_cuda


def build_device_mesh(original: type) -> type:
    """Return ``DeviceMesh`` whose meshes of a group that are asked for as of "cuda" are of the CPU: torch's FSDP2 makes
    the device of a mesh from its type and the number of ``torch.cuda.current_device()``, which here is no number."""

    class CpuDeviceMesh(original):
        @staticmethod
        def from_group(group: Any, device_type: str, *args: Any, **kwargs: Any) -> Any:
            return original.from_group(group, "cpu" if is_cuda(device_type) else device_type, *args, **kwargs)

    return CpuDeviceMesh


def build_router_gating_linear(original: Callable) -> Callable:
    """Return ``router_gating_linear`` as it is, in a module that has the name ``te_general_gemm``. Upstream imports it
    with Transformer Engine alone, and asks in every case whether it is None."""
    original.__globals__.setdefault("te_general_gemm", None)
    return original


def build_move_tensor_to_cpu(original: Callable) -> Callable:
    """Return ``maybe_move_tensor_to_cpu`` that also makes the array that was asked for where the tensor is on the CPU
    already: as on a GPU a copy, which an all-to-all takes for its lengths."""

    @functools.wraps(original)
    def maybe_move_tensor_to_cpu(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        if as_numpy and torch.is_tensor(tensor) and not tensor.is_cuda:
            return tensor.clone().numpy()
        return original(tensor, as_numpy, record_stream)

    return maybe_move_tensor_to_cpu


#: Options that need a GPU, and what of it.
_CUDA_ONLY = {
    "fp8": "Transformer Engine",
    "fp4": "Transformer Engine",
    "use_flash_attn": "flash-attn",
    "enable_cuda_graph": "CUDA graphs",
    "external_cuda_graph": "CUDA graphs",
    "moe_grouped_gemm": "grouped matrix products of CUDA",
    "tp_comm_overlap": "Transformer Engine",
    "use_nccl_ub": "NCCL",
}


def build_parse_args(original: Callable) -> Callable:
    """Return ``parse_args`` that refuses what needs a GPU, and knows the backend of MPI by name."""

    def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        allow_choice(parser, "--distributed-backend", "mpi")
        return parser

    return wrap_parse_args(original, add_options, _check)


def _check(args: argparse.Namespace) -> None:
    """Refuse what needs a GPU, before anything is built, and switch off fusions that are CUDA kernels.

    Raises:
        ConfigError: naming the option.
    """
    refuse_options(args, _CUDA_ONLY)
    args.masked_softmax_fusion = False
    args.gradient_accumulation_fusion = False
    # torch's norms are one kernel anyway.
    args.no_persist_layer_norm = True


def _check_implementation(args: argparse.Namespace) -> None:
    """Refuse Transformer Engine, upstream's default, where there is none.

    Raises:
        ConfigError: naming the option.
    """
    if getattr(args, "transformer_impl", "local") != "local" and \
            importlib.util.find_spec("transformer_engine") is None:
        raise ConfigError(f"--transformer-impl is {args.transformer_impl}", "it needs Transformer Engine, which needs "
                          "a GPU", "add --transformer-impl local", "--transformer-impl")


def build_torch_norm(original: Callable) -> Callable:
    """Return ``WrappedTorchNorm.__new__`` that takes sequence parallelism. All that it asks of a norm is that the
    gradients of its parameters are summed over the ranks, which they are where they carry the mark."""

    @functools.wraps(original)
    def __new__(cls: type, config: Any, *args: Any, **kwargs: Any) -> torch.nn.Module:
        if not config.sequence_parallel:
            return original(cls, config, *args, **kwargs)
        config.sequence_parallel = False
        try:
            norm = original(cls, config, *args, **kwargs)
        finally:
            config.sequence_parallel = True
        for parameter in norm.parameters():
            parameter.sequence_parallel = True
        return norm

    return __new__
