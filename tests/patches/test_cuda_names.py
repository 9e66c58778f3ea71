"""The word "cuda" answered by the CPU, in one module or one function, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from megatron_fugaku.patches.cuda_names import (
    CPU,
    FACTORIES,
    CpuTorch,
    CudaDevices,
    CudaNames,
    build_facade,
    build_wrapper,
    is_cuda,
)

# Arguments of every factory, without the device.
ARGUMENTS = {
    "arange": (3,), "empty": (3,), "eye": (3,), "full": ((3,), 1.0), "linspace": (0, 1, 3), "ones": (3,), "rand": (3,),
    "randint": (5, (3,)), "randn": (3,), "randperm": (3,), "tensor": ([1.0],), "as_tensor": ([1.0],), "zeros": (3,),
    "full_like": (torch.ones(3), 2.0),
    **{name: (torch.ones(3),) for name in ("empty_like", "ones_like", "rand_like", "randn_like", "zeros_like")},
}


def test_every_factory_is_tried_here():
    assert set(ARGUMENTS) == FACTORIES


@pytest.mark.parametrize(("device", "answer"), [
    ("cuda", True), ("cuda:3", True), (torch.device("cuda", 1), True), ("cpu", False), (torch.device("cpu"), False),
    (0, True), (False, False), (None, False), ("cudax", False), ("meta", False),
])
def test_names_of_cuda_devices(device, answer):
    assert is_cuda(device) is answer


@pytest.mark.parametrize("name", sorted(FACTORIES))
@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda")])
def test_factories_make_cpu_tensors(name, device):
    facade = getattr(CpuTorch(), name)(*ARGUMENTS[name], device=device)
    with CudaNames():
        mode = getattr(torch, name)(*ARGUMENTS[name], device=device)
    plain = getattr(torch, name)(*ARGUMENTS[name])
    for made in (facade, mode):
        assert (made.device.type, made.dtype, made.shape) == ("cpu", plain.dtype, plain.shape)


def test_pinned_memory_goes_with_the_device():
    with CudaNames():
        assert not torch.empty(3, device="cuda", pin_memory=True).is_pinned()
        assert not torch.zeros(3, pin_memory=True).is_pinned()
        assert torch.ones(3, device=1).to(0).device.type == "cpu"


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_other_devices_are_left_alone(name):
    with CudaNames():
        assert getattr(torch, name)(*ARGUMENTS[name], device="meta").device.type == "meta"
    assert getattr(CpuTorch(), name)(*ARGUMENTS[name], device="meta").device.type == "meta"


def test_tensor_methods_under_the_mode():
    tensor, half = torch.arange(4.0), torch.ones(2, dtype=torch.bfloat16)
    with CudaNames():
        assert tensor.cuda() is tensor
        assert tensor.cuda(0) is tensor
        assert tensor.to("cuda") is tensor
        assert tensor.to(torch.device("cuda", 0)) is tensor
        assert tensor.to(device="cuda:1", dtype=torch.float64).dtype == torch.float64
        assert tensor.to("cuda", torch.bfloat16).dtype == torch.bfloat16
        assert tensor.type() == "torch.cuda.FloatTensor"
        assert half.type() == "torch.cuda.BFloat16Tensor"
        # What names no CUDA device does what it always did.
        assert tensor.to(torch.float64).dtype == torch.float64
        assert tensor.to("cpu") is tensor
        assert tensor.to(half).dtype == torch.bfloat16
        assert tensor.type(torch.int64).dtype == torch.int64
        assert tensor.type("torch.IntTensor").dtype == torch.int32
        assert torch.equal(tensor + 1, torch.tensor([1.0, 2.0, 3.0, 4.0]))
        assert tensor.new_zeros(2, device="cuda").device.type == "cpu"


def test_the_mode_of_a_program_knows_devices_and_leaves_type_names():
    tensor = torch.arange(4.0)
    with CudaDevices():
        assert tensor.cuda() is tensor
        assert tensor.to("cuda:1") is tensor
        assert torch.zeros(2, device="cuda").device.type == "cpu"
        assert torch.nn.Linear(2, 2, device="cuda").cuda().weight.device.type == "cpu"
        assert torch.nn.Linear(2, 2).to("cuda", torch.float64).weight.dtype == torch.float64
        # As programs write it where torch.cuda.current_device() is a number.
        assert torch.device(f"cuda:{CPU}") == CPU and torch.device("cuda:1").index == 1
        assert tensor.type() == "torch.FloatTensor"
        assert not tensor.is_cuda
        with torch.device("meta"):
            assert torch.zeros(2).device.type == "meta"
    with pytest.raises((AssertionError, RuntimeError)):
        tensor.cuda()


def test_the_mode_ends_with_its_block():
    tensor = torch.ones(2)
    with pytest.raises(ZeroDivisionError), CudaNames():
        raise ZeroDivisionError
    assert tensor.type() == "torch.FloatTensor"
    with pytest.raises((AssertionError, RuntimeError)):
        torch.zeros(2, device="cuda")
    with pytest.raises((AssertionError, RuntimeError)):
        tensor.cuda()


def test_a_wrapped_function_keeps_name_results_and_gradients():
    def work(tensor, scale=2.0):
        """Its words."""
        return (tensor * torch.tensor(scale, device="cuda")).sum().cuda()

    wrapped = build_wrapper(work)
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__) == ("work", "Its words.", work)
    tensor = torch.ones(3, requires_grad=True)
    wrapped(tensor, scale=3.0).backward()
    assert torch.equal(tensor.grad, torch.full((3,), 3.0))


def test_the_facade_is_torch_in_everything_else():
    facade = build_facade(torch)
    for name in ("Tensor", "nn", "distributed", "float32", "no_grad", "cuda", "autograd", "jit", "matmul", "device"):
        assert getattr(facade, name) is getattr(torch, name)
    assert isinstance(facade.zeros(1, device="cuda"), torch.Tensor)
    assert facade.zeros is facade.zeros
    assert facade.zeros is not torch.zeros
    with pytest.raises(AttributeError):
        facade.no_such_name  # noqa: B018 - the access is the test
