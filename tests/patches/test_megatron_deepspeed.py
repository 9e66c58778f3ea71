"""What the patches of Megatron-DeepSpeed put in place, against independent references; no checkout is needed."""

from __future__ import annotations

import argparse
import math
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from megatron_fugaku.errors import ConfigError, PatchError
from megatron_fugaku.patches import megatron_deepspeed as mds
from megatron_fugaku.patches.megatron_deepspeed_options import TOKENIZER, add_options, build_parse_args, parse_range
from megatron_fugaku.patches.megatron_deepspeed_training import build_param_groups, is_skipped


@pytest.fixture
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def parameters(scale: float) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    found = []
    for shape in ((3, 4), (5,), (2, 2, 2)):
        parameter = torch.nn.Parameter(torch.zeros(shape))
        parameter.grad = torch.randn(shape, generator=generator) * scale
        found.append(parameter)
    return [*found, torch.nn.Parameter(torch.zeros(2))]  # one without a gradient


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_clipping_is_torch_s(one_process, norm_type, scale):
    ours, theirs = parameters(scale), parameters(scale)
    clip = mds.build_clip_grad_norm(None)
    norm = clip(ours, [parameter.grad for parameter in ours if parameter.grad is not None], 1.0, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type)
    assert isinstance(norm, float)
    assert norm == pytest.approx(expected.item(), rel=1e-6)
    for mine, reference in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(mine.grad, reference.grad, rtol=1e-6, atol=0)


def test_a_stage_without_gradients_counts_nothing(one_process):
    assert mds.build_clip_grad_norm(None)([], [], 1.0) == 0.0


def rotation(length: int, dim: int) -> mds.Rotation:
    angles = torch.outer(torch.arange(length).float(), 10000.0 ** (-torch.arange(0, dim, 2).float() / dim))
    angles = torch.cat((angles, angles), -1)[:, None, None, :]
    return mds.Rotation((angles.cos(), angles.sin()))


@pytest.mark.parametrize("head", [8, 12])
def test_rotating_is_multiplication_of_complex_numbers(head):
    length, batch, heads, dim = 6, 2, 3, 8
    tensor = torch.randn(length, batch, heads, head, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turned = mds.build_apply_rotary(None)(tensor, rotation(9, dim).to(torch.float64))
    first, second = tensor[..., :dim // 2], tensor[..., dim // 2:dim]
    frequencies = 10000.0 ** (-torch.arange(0, dim, 2).double() / dim)
    phase = torch.polar(torch.ones(length, dim // 2).double(), torch.outer(torch.arange(length).double(), frequencies))
    expected = torch.complex(first, second) * phase[:, None, None]
    torch.testing.assert_close(turned[..., :dim], torch.cat((expected.real, expected.imag), -1), rtol=1e-6, atol=1e-6)
    assert torch.equal(turned[..., dim:], tensor[..., dim:])


def test_a_rotation_moves_and_is_sliced_as_one():
    whole = rotation(6, 4)
    part = whole[2:4]
    assert isinstance(part, mds.Rotation)
    assert torch.equal(part[0], whole[0][2:4]) and torch.equal(part[1], whole[1][2:4])
    assert all(tensor.dtype == torch.float64 for tensor in whole.to(torch.float64))
    cos, sin = whole
    assert cos is whole[0] and sin is whole[1]
    assert isinstance(mds.build_rotary_forward(lambda self, length: [cos, sin])(None, 6), mds.Rotation)


@pytest.mark.parametrize("kind", [tuple, list])
def test_queries_and_keys_get_both(kind):
    seen = []
    forward = mds.build_attention_forward(lambda self, *args, rotary_pos_emb=None: seen.append(rotary_pos_emb))
    attention = SimpleNamespace(enable_ds_sequence_parallel=False)
    pair = kind(rotation(4, 4))
    forward(attention, "hidden", "mask", rotary_pos_emb=pair)
    queries, keys = seen.pop()
    for given in (queries, keys):
        assert torch.equal(given[0], pair[0]) and torch.equal(given[1], pair[1])
    forward(attention, "hidden", "mask", rotary_pos_emb=(queries, keys))
    assert seen.pop() == (queries, keys)
    forward(attention, "hidden", "mask")
    assert seen.pop() is None
    attention.enable_ds_sequence_parallel = True
    forward(attention, "hidden", "mask", rotary_pos_emb=pair)
    assert seen.pop() is pair


def test_attention_gets_contiguous_tensors():
    mixed = torch.arange(24.0).view(2, 2, 6)
    parts = mixed.chunk(3, -1)
    assert not any(part.is_contiguous() for part in parts)
    forward = mds.build_core_attention_forward(lambda self, *tensors: tensors)
    *got, mask = forward(None, *parts, "mask")
    assert mask == "mask"
    for part, tensor in zip(parts, got, strict=True):
        assert tensor.is_contiguous() and torch.equal(part, tensor)


@pytest.mark.parametrize(("interval", "expected"), [(1, [4] * 8), (2, [1, 4] * 4), (3, [1, 1, 4, 1, 1, 4, 1, 1])])
def test_a_stage_s_layers_are_those_of_the_whole_model(interval, expected):
    experts = mds.build_experts_per_layer(lambda *args: args)
    assert experts([4], 8, interval) == expected
    assert [number for stage in range(4) for number in experts([4], 2, interval, 2 * stage)] == expected
    assert experts([2, 4], 4, 2, 0) == ([2, 4], 4, 2, 0), "a list of numbers is upstream's"


@pytest.mark.parametrize(("build", "name"), [(mds.build_knn_monitor, "compute_feature_bank"),
                                             (mds.build_compression, "init_compression"),
                                             (mds.build_compression, "redundancy_clean")])
def test_stand_ins_have_exact_names_and_say_what_they_are(build, name):
    module = build(None)
    with pytest.raises(PatchError, match=f"{name} was called, but"):
        getattr(module, name)(1, x=2)
    with pytest.raises(AttributeError):
        module.another_name  # noqa: B018 - the access is the test


@pytest.mark.parametrize(("name", "shape", "decays"), [
    ("weight", (3, 4), True), ("norm.weight", (3,), False), ("bias", (3,), False), ("experts.bias", (2, 3), False)])
@pytest.mark.parametrize("is_spread", [False, True])
def test_weights_decay_under_zero_3_too(name, shape, decays, is_spread):
    parameter = torch.nn.Parameter(torch.zeros(0 if is_spread else shape))
    if is_spread:
        parameter.ds_shape = torch.Size(shape)
    groups = build_param_groups(lambda modules, exempt, *rest: (exempt(name, parameter), *rest))
    assert groups([], None, "scale", 2.0) == (not decays, "scale", 2.0)
    assert groups([], lambda *given: "its own", "scale", 2.0)[0] == "its own"


@pytest.mark.parametrize(("text", "expected"), [("7", (7, 7)), ("3-5", (3, 5)), ("5-5", (5, 5))])
def test_ranges_of_iterations(text, expected):
    assert parse_range(text) == expected
    assert [number for number in range(1, 10) if is_skipped(number, [expected])] == list(
        range(expected[0], expected[1] + 1))


@pytest.mark.parametrize("text", ["5-3", "a", "", "-3", "3-", "1-2-3"])
def test_wrong_ranges(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no range of iterations"):
        parse_range(text)


def upstream_parse_args(words):
    """A parser like upstream's, with a few of its options."""

    def parse_args(extra_args_provider=None, ignore_unknown_args=False):
        parser = argparse.ArgumentParser(allow_abbrev=False)
        parser.add_argument("--distributed-backend", choices=["nccl", "gloo"], default="nccl")
        parser.add_argument("--tokenizer-type", choices=["NullTokenizer"])
        parser.add_argument("--cpu_torch_adam", action="store_true")
        parser.add_argument("--cpu-optimizer", action="store_true")
        parser.add_argument("--override-opt_param-scheduler", action="store_true")
        parser.add_argument("--no-masked-softmax-fusion", action="store_false", dest="masked_softmax_fusion")
        parser.add_argument("--use-flash-attn-v2", action="store_true")
        parser.add_argument("--transformer-impl", default="local")
        parser.add_argument("--checkpoint-activations", action="store_true")
        parser.add_argument("--checkpoint-num-layers", type=int, default=1)
        parser.add_argument("--recompute-method")
        parser.add_argument("--use-rotary-position-embeddings", action="store_true")
        parser.add_argument("--pipeline-model-parallel-size", type=int, default=1)
        parser.add_argument("--deepspeed", action="store_true")
        return extra_args_provider(parser).parse_args(words) if extra_args_provider else parser.parse_args(words)

    return parse_args


def test_options_of_the_fork_are_known():
    args = build_parse_args(upstream_parse_args([
        "--no-cuda", "--distributed-backend", "mpi", "--tokenizer-type", TOKENIZER, "--cpu-optimizer",
        "--cpu-torch-adam", "--override-lr-scheduler", "--use-timer", "--use-cached-dataset",
        "--skip-train-iteration-range", "3-4", "9",
        "--checkpoint-activations-stages", "4", "--wandb-name", "run"]))()
    assert args.no_cuda and args.cpu_torch_adam and args.override_opt_param_scheduler and args.use_cached_dataset
    assert (args.distributed_backend, args.tokenizer_type, args.wandb_exp_name) == ("mpi", TOKENIZER, "run")
    assert not args.cpu_optimizer, "torch's AdamW is what is built without it"
    assert args.skip_train_iteration_range == [(3, 4), (9, 9)]
    assert args.checkpoint_activations_stages == 4
    assert args.timing_log_level == 2
    assert args.masked_softmax_fusion is False
    assert args.deepspeed_config_dict is None


def test_without_them_nothing_changes_and_a_script_s_own_options_stay():
    def own(parser):
        parser.add_argument("--of-the-script")
        return parser

    args = build_parse_args(upstream_parse_args(["--of-the-script", "x"]))(own)
    assert args.of_the_script == "x"
    assert (args.distributed_backend, args.use_cached_dataset, args.skip_train_iteration_range) == ("nccl", False, [])


def test_an_option_that_a_script_adds_once_more_is_the_script_s():
    def own(parser):
        group = parser.add_argument_group("text generation")
        group.add_argument("--transformer-impl", default="the script's")
        group.add_argument("--local_rank", type=int, default=0)
        return parser

    args = build_parse_args(upstream_parse_args([]))(own)
    assert (args.transformer_impl, args.local_rank) == ("the script's", None)


def test_recomputation_in_older_words():
    words = ["--checkpoint-activations", "--checkpoint-num-layers", "2"]
    args = build_parse_args(upstream_parse_args(words))()
    assert (args.recompute_granularity, args.recompute_method, args.recompute_num_layers) == ("full", "uniform", 2)
    args = build_parse_args(upstream_parse_args([*words, "--recompute-method", "block"]))()
    assert args.recompute_method == "block" and not hasattr(args, "recompute_granularity")


def test_rotary_embeddings_in_a_pipeline_need_deepspeed():
    words = ["--use-rotary-position-embeddings", "--pipeline-model-parallel-size", "2"]
    with pytest.raises(ConfigError, match=r"with 2 pipeline stages.*Add --deepspeed"):
        build_parse_args(upstream_parse_args(words))()
    assert build_parse_args(upstream_parse_args([*words, "--deepspeed"]))().use_rotary_position_embeddings


def test_an_option_that_upstream_has_is_left_to_it():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-cuda", default="upstream", nargs="?")
    assert add_options(parser).parse_args([]).no_cuda == "upstream"


@pytest.mark.parametrize(("words", "says"), [
    (["--use-flash-attn-v2"], "--use-flash-attn-v2 was given"),
    (["--transformer-impl", "transformer_engine"], "Use --transformer-impl local"),
])
def test_what_needs_a_gpu_is_refused(words, says):
    with pytest.raises(ConfigError, match=says):
        build_parse_args(upstream_parse_args(words))()
