"""Answers ``"cuda"`` by the CPU where upstream writes the word as a literal.

Three tools, all from torch's own extension points: a facade that stands for the module ``torch`` inside one module
of upstream, for functions in which whole training steps run; a :class:`torch.overrides.TorchFunctionMode` for
short functions, which also sees tensor methods and their type names; and a lighter mode for whole programs that write
the word everywhere. None touches ``torch`` itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CPU = torch.device("cpu")
#: What programs make of ``torch.cuda.current_device()``, which they take for a number.
CURRENT_DEVICE = f"cuda:{CPU}"
FACTORIES = frozenset(
    ("arange", "empty", "empty_like", "eye", "full", "full_like", "linspace", "ones", "ones_like", "rand", "rand_like",
     "randint", "randn", "randn_like", "randperm", "tensor", "as_tensor", "zeros", "zeros_like")
)
_TENSOR_TYPE = torch.Tensor.type
_TENSOR_CUDA = torch.Tensor.cuda
_TENSOR_TO = torch.Tensor.to


def is_cuda(device: Any) -> bool:
    """Say whether a ``device`` argument names a CUDA device; a number does."""
    if isinstance(device, torch.device):
        return device.type == "cuda"
    if isinstance(device, int):
        return not isinstance(device, bool)
    return isinstance(device, str) and device.partition(":")[0] == "cuda"


def _on_cpu(kwargs: dict[str, Any]) -> dict[str, Any]:
    if not is_cuda(kwargs.get("device")):
        return kwargs
    return {**{key: value for key, value in kwargs.items() if key != "pin_memory"}, "device": CPU}


class CpuTorch(ModuleType):
    """Stands for the module ``torch`` inside one upstream module: factories called with ``device="cuda"`` make CPU
    tensors, every other name is torch's own object."""

    def __init__(self) -> None:
        super().__init__("torch")

    def __getattr__(self, name: str) -> Any:
        value = getattr(torch, name)
        if name in FACTORIES:

            @functools.wraps(value)
            def value(*args: Any, _factory: Callable = value, **kwargs: Any) -> torch.Tensor:
                return _factory(*args, **_on_cpu(kwargs))

        setattr(self, name, value)
        return value


def build_facade(original: ModuleType) -> ModuleType:
    """Patch maker: the facade in place of ``torch``."""
    return CpuTorch()


class CudaDevices(TorchFunctionMode):
    """While active: factories take ``device="cuda"`` as the CPU, ``tensor.cuda()`` and ``tensor.to("cuda")`` leave a
    tensor where it is, the device ``f"cuda:{torch.cuda.current_device()}"`` is the CPU, and memory is pinned for no
    GPU. For a whole program: :func:`enter_cuda_devices`."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is _TENSOR_CUDA:
            return args[0]
        if func is _TENSOR_TO and len(args) > 1 and is_cuda(args[1]):
            args = (args[0], CPU, *args[2:])
        if func is torch.device and args == (CURRENT_DEVICE,):
            return CPU
        if not kwargs:
            return func(*args)
        if kwargs.get("pin_memory") is True:
            kwargs = {**kwargs, "pin_memory": False}
        return func(*args, **_on_cpu(kwargs))


_program_mode: CudaDevices | None = None


def enter_cuda_devices() -> None:
    """Answer ``"cuda"`` by the CPU from here on, in this thread. Idempotent."""
    global _program_mode
    if _program_mode is None:
        _program_mode = CudaDevices()
        _program_mode.__enter__()


class CudaNames(CudaDevices):
    """While active: factories take ``device="cuda"`` as the CPU, ``tensor.cuda()`` and ``tensor.to("cuda")`` leave a
    tensor where it is, and ``tensor.type()`` names a CPU tensor as upstream's comparisons expect it
    (``torch.cuda.FloatTensor``)."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is _TENSOR_TYPE and len(args) == 1 and not kwargs:
            return func(*args).replace("torch.", "torch.cuda.", 1)
        return super().__torch_function__(func, types, args, kwargs)


def build_wrapper(original: Callable) -> Callable:
    """Patch maker: run a function or method under :class:`CudaNames`."""

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with CudaNames():
            return original(*args, **kwargs)

    return wrapper
