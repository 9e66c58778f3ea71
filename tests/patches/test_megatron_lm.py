"""What the patches of Megatron-LM put in place; no checkout is needed."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from megatron.core.transformer.torch_norm import WrappedTorchNorm
from megatron.core.transformer.transformer_config import TransformerConfig

from megatron_fugaku.errors import ConfigError
from megatron_fugaku.patches import megatron_lm, stand_ins


def parse(words):
    def parse_args(extra_args_provider=None, ignore_unknown_args=False):
        parser = argparse.ArgumentParser(allow_abbrev=False)
        parser.add_argument("--distributed-backend", choices=["nccl", "gloo"], default="nccl")
        parser.add_argument("--transformer-impl", default="transformer_engine")
        parser.add_argument("--fp8-format", dest="fp8")
        parser.add_argument("--moe-grouped-gemm", action="store_true")
        return extra_args_provider(parser).parse_args(words)

    return megatron_lm.build_parse_args(parse_args)()


def test_fusions_of_cuda_kernels_are_off():
    args = parse(["--transformer-impl", "local", "--distributed-backend", "mpi"])
    assert args.distributed_backend == "mpi"
    assert args.masked_softmax_fusion is args.gradient_accumulation_fusion is False
    assert args.no_persist_layer_norm is True


@pytest.mark.parametrize(("words", "says"), [
    (["--transformer-impl", "local", "--fp8-format", "e4m3"], "Transformer Engine"),
    (["--transformer-impl", "local", "--moe-grouped-gemm"], "--moe-grouped-gemm was given"),
])
def test_what_needs_a_gpu_is_refused(words, says):
    with pytest.raises(ConfigError) as caught:
        parse(words)
    assert says.lower() in str(caught.value).lower()


def test_transformer_engine_is_refused_when_training_starts():
    def initialize_megatron(parsed_args=None):
        raise AssertionError("started")

    with pytest.raises(ConfigError, match="Add --transformer-impl local"):
        megatron_lm.build_initialize_megatron(initialize_megatron)(
            parsed_args=SimpleNamespace(transformer_impl="transformer_engine"))


def test_arguments_that_were_parsed_before_are_looked_at(monkeypatch):
    """As programs do from 0.18 on."""
    def initialize_megatron(allow_no_cuda=False, store=None):
        return allow_no_cuda

    module = ModuleType("megatron.training")
    module.get_args = lambda: SimpleNamespace(transformer_impl=implementation)
    monkeypatch.setitem(sys.modules, "megatron.training", module)
    initialize = megatron_lm.build_initialize_megatron(initialize_megatron)
    implementation = "local"
    assert initialize(store=None) is True
    implementation = "transformer_engine"
    with pytest.raises(ConfigError, match="Add --transformer-impl local"):
        initialize()


def test_a_tensor_may_be_anywhere():
    is_cuda = megatron_lm.build_is_tensor(None)
    is_cuda(torch.ones(1))
    with pytest.raises(AssertionError):
        is_cuda(None)


def test_a_mesh_of_cuda_devices_is_one_of_cpus():
    class DeviceMesh:
        @staticmethod
        def from_group(group, device_type, mesh=None):
            return group, device_type, mesh

    mesh = megatron_lm.build_device_mesh(DeviceMesh)
    assert issubclass(mesh, DeviceMesh)
    assert mesh.from_group("group", "cuda", mesh=3) == ("group", "cpu", 3)
    assert mesh.from_group("group", "meta") == ("group", "meta", None)


def test_no_transformer_engine_is_new_enough_where_there_is_none(monkeypatch):
    asked = []
    is_te_min_version = megatron_lm.build_is_te_min_version(lambda version: asked.append(version) or True)
    assert not is_te_min_version("1.3") and not asked
    monkeypatch.setattr(megatron_lm.importlib.util, "find_spec", lambda name: name)
    assert is_te_min_version("1.3") and asked == ["1.3"]


@pytest.mark.parametrize("has_bias", [False, True])
def test_the_router_of_experts_is_a_linear_layer_with_its_gradients(has_bias, monkeypatch):
    from megatron.core.transformer.moe import moe_utils

    monkeypatch.delattr(moe_utils, "te_general_gemm", raising=False)
    router = megatron_lm.build_router_gating_linear(moe_utils.router_gating_linear)
    inputs = [torch.randn(3, 2, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True),
              torch.randn(4, requires_grad=True) if has_bias else None]
    output = router(*inputs, torch.float32)
    expected = torch.nn.functional.linear(*inputs)
    torch.testing.assert_close(output, expected)
    leaves = [tensor for tensor in inputs if tensor is not None]
    slope = torch.randn_like(output)
    torch.testing.assert_close(torch.autograd.grad(output, leaves, slope), torch.autograd.grad(expected, leaves, slope))


def test_lengths_of_an_all_to_all_are_an_array_of_their_own():
    from megatron.core.transformer.moe import moe_utils

    move = megatron_lm.build_move_tensor_to_cpu(moe_utils.maybe_move_tensor_to_cpu)
    lengths = torch.tensor([2, 3])
    array = move(lengths, as_numpy=True)
    lengths += 1
    assert list(array) == [2, 3] and not torch.is_tensor(array)
    assert move(lengths) is lengths and move(None, as_numpy=True) is None


@pytest.mark.parametrize("normalization", ["LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("is_parallel", [True, False])
def test_norms_take_sequence_parallelism(normalization, is_parallel):
    config = TransformerConfig(num_layers=1, hidden_size=4, num_attention_heads=2, normalization=normalization,
                               sequence_parallel=is_parallel, tensor_model_parallel_size=2)
    new = megatron_lm.build_torch_norm(WrappedTorchNorm.__dict__["__new__"].__func__)
    norm = new(WrappedTorchNorm, config, 4, eps=1e-3)
    assert isinstance(norm, getattr(torch.nn, normalization)) and norm.eps == 1e-3
    assert config.sequence_parallel is is_parallel
    assert all(getattr(parameter, "sequence_parallel", False) is is_parallel for parameter in norm.parameters())


def test_what_a_norm_refuses_for_other_reasons_it_still_refuses():
    config = TransformerConfig(num_layers=1, hidden_size=4, num_attention_heads=2, sequence_parallel=True,
                               tensor_model_parallel_size=2, memory_efficient_layer_norm=True)
    new = megatron_lm.build_torch_norm(WrappedTorchNorm.__dict__["__new__"].__func__)
    with pytest.raises(AssertionError, match="memory_efficient_layer_norm"):
        new(WrappedTorchNorm, config, 4)
    assert config.sequence_parallel


def test_start_up_does_not_insist_on_cuda():
    def initialize_megatron(extra_args_provider=None, allow_no_cuda=False, parsed_args=None, store=None):
        return SimpleNamespace(allow_no_cuda=allow_no_cuda, provider=extra_args_provider, store=store)

    args = SimpleNamespace(transformer_impl="local")
    called = megatron_lm.build_initialize_megatron(initialize_megatron)("provider", parsed_args=args, store="store")
    assert (called.allow_no_cuda, called.provider, called.store) == (True, "provider", "store")
    assert megatron_lm.build_device_arch_version(None)() == 0
    assert stand_ins.build_nothing(None)("anything", at="all") is None
