"""Every combination that could not train is refused before a rank starts, by one line that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpi_helpers import run_mpi
from small_run import small_config, write_config

from megatron_fugaku.config import build_config, check_config, data_parallel_size, padded_vocab_size
from megatron_fugaku.config.load import merge, parse_override
from megatron_fugaku.errors import ConfigError

TP, PP = "parallel.tensor_model_parallel_size", "parallel.pipeline_model_parallel_size"
VPP = "parallel.virtual_pipeline_model_parallel_size"


def build(*overrides: str):
    content: dict[str, Any] = small_config(Path("data/manifest.json"), Path("run"))
    for text in overrides:
        content = merge(content, parse_override(text))
    return build_config(content)


def message_of(config, world_size: int, files: bool = False) -> str:
    """The error of a check: one line of three sentences, with the key last."""
    with pytest.raises(ConfigError) as caught:
        check_config(config, world_size, files=files)
    error, message = caught.value, str(caught.value)
    assert "\n" not in message
    assert all((error.what, error.why, error.fix, error.where)), message
    assert message.endswith(f" [{error.where}]")
    assert "?." not in message
    assert ".." not in message
    return message


BAD = {
    "hidden by heads": (1, ["model.num_attention_heads=5"], "hidden_size 32", "model.hidden_size"),
    "heads by TP": (3, [f"{TP}=3", "train.global_batch_size=9"], "num_attention_heads 4", "model.num_attention_heads"),
    "heads by groups": (1, ["model.num_query_groups=3"], "num_query_groups 3", "model.num_query_groups"),
    "groups by TP": (4, [f"{TP}=4", "model.num_query_groups=2"], "num_query_groups 2", "model.num_query_groups"),
    "ffn by TP": (4, [f"{TP}=4", "model.ffn_hidden_size=66"], "ffn_hidden_size 66", "model.ffn_hidden_size"),
    "positions": (1, ["model.max_position_embeddings=31"], "seq_length 32", "model.max_position_embeddings"),
    "odd rope": (1, ["model.style=llama", "model.kv_channels=7"], "kv_channels 7", "model.kv_channels"),
    "layers by PP": (3, [f"{PP}=3"], "num_layers 4", "model.num_layers"),
    "layers by PP x VPP": (2, [f"{PP}=2", f"{VPP}=4"], "x virtual_pipeline_model_parallel_size 8", "model.num_layers"),
    "VPP without PP": (1, [f"{VPP}=2"], "pipeline_model_parallel_size is 1", VPP),
    "SP without TP": (1, ["parallel.sequence_parallel=true"], "tensor_model_parallel_size is 1",
                      "parallel.sequence_parallel"),
    "sequence by TP": (2, [f"{TP}=2", "parallel.sequence_parallel=true", "model.seq_length=31"], "seq_length 31",
                       "model.seq_length"),
    "param overlap": (2, ["parallel.overlap_param_gather=true", "parallel.overlap_grad_reduce=true"],
                      "without use_distributed_optimizer", "parallel.overlap_param_gather"),
    "pipeline of DeepSpeed": (2, ["engine=deepspeed", f"{PP}=2"], "pipeline_model_parallel_size is 2 and engine", PP),
    "SP of DeepSpeed": (2, ["engine=deepspeed", f"{TP}=2", "parallel.sequence_parallel=true"],
                        "sequence_parallel is True and engine is deepspeed", "parallel.sequence_parallel"),
    "weights of ZeRO 3": (1, ["engine=deepspeed", "deepspeed.zero_stage=3", "checkpoint.finetune=true"],
                          "finetune is on with deepspeed.zero_stage 3", "checkpoint.finetune"),
    "universal of Megatron": (1, ["deepspeed.load_universal=true"], "engine is megatron", "deepspeed.load_universal"),
    "universal ZeRO 3 with TP": (2, ["engine=deepspeed", "deepspeed.zero_stage=3", "deepspeed.load_universal=true",
                                     f"{TP}=2"], "zero_stage 3 and tensor", "deepspeed.load_universal"),
    "float16 products": (1, ["kernels.matmul=fp16_native", "train.precision=bf16"],
                         "kernels.matmul is fp16_native and train.precision is bf16", "kernels.matmul"),
    "bfloat16 products": (1, ["kernels.matmul=bf16_native"],
                          "kernels.matmul is bf16_native and train.precision is fp32", "kernels.matmul"),
    "grad overlap": (2, ["parallel.overlap_param_gather=true", "parallel.use_distributed_optimizer=true"],
                     "overlap_grad_reduce", "parallel.overlap_param_gather"),
    "recompute method": (1, ["recompute.recompute_method=block"], "recompute_granularity None",
                         "recompute.recompute_granularity"),
    "recompute layers": (1, ["recompute.recompute_granularity=selective", "recompute.recompute_num_layers=1"],
                         "recompute_granularity selective", "recompute.recompute_granularity"),
    "recompute stages": (1, ["recompute.recompute_pipeline_stages=[0]"], "[0] without recompute_granularity",
                         "recompute.recompute_pipeline_stages"),
    "recompute stage": (2, [f"{PP}=2", "recompute={recompute_granularity: full, recompute_pipeline_stages: [0, 2]}"],
                        "stage 2 of a pipeline of 2", "recompute.recompute_pipeline_stages"),
    "recompute units": (1, ["recompute={recompute_granularity: full, recompute_num_layers: 3}"], "stage 4",
                        "recompute.recompute_num_layers"),
    "recompute units of a chunk": (2, [f"{PP}=2", f"{VPP}=2", "recompute={recompute_granularity: full, "
                                       "recompute_num_layers: 2}"], "chunk 1", "recompute.recompute_num_layers"),
    "ranks": (6, [f"{TP}=2", f"{PP}=2"], "6 ranks", TP),
    "batch": (3, [], "global_batch_size 8", "train.global_batch_size"),
    "batch by micro": (2, ["train.micro_batch_size=3"], "= 6", "train.global_batch_size"),
    "interleaving": (2, [f"{PP}=2", f"{VPP}=2", "train.global_batch_size=3"], "3 micro-batches",
                     "train.global_batch_size"),
    "both lengths": (1, ["train.train_tokens=100000"], "train_tokens is 100000", "train.train_iters"),
    "no length": (1, ["train.train_iters=null"], "train_iters is None", "train.train_iters"),
    "too few tokens": (1, ["train={train_iters: null, train_tokens: 255}"], "step of 256 tokens", "train.train_tokens"),
    "min_lr": (1, ["optimizer.min_lr=2e-3"], "min_lr 0.002 is above lr 0.001", "optimizer.min_lr"),
    "warm-up": (1, ["optimizer.lr_warmup_tokens=5120"], "5120 tokens of decay", "optimizer.lr_warmup_tokens"),
    "warm-up and decay": (1, ["optimizer={lr_warmup_tokens: 200, lr_decay_tokens: 200}"], "200 tokens of decay",
                          "optimizer.lr_warmup_tokens"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=list(BAD))
def test_what_cannot_train_is_refused(case):
    world_size, overrides, part, key = case
    message = message_of(build(*overrides), world_size)
    assert part in message
    assert message.endswith(f"[{key}]")


@pytest.mark.parametrize(("world_size", "overrides"), [
    (1, []), (8, []), (8, [f"{TP}=2", f"{PP}=2", "parallel.sequence_parallel=true"]), (4, [f"{PP}=4"]),
    (2, [f"{PP}=2", f"{VPP}=2"]), (1, ["model.num_attention_heads=5", "model.kv_channels=6"]),
    (2, [f"{TP}=2", "model.style=llama", "model.num_query_groups=2"]), (1, ["model.max_position_embeddings=64"]),
    (4, ["parallel={use_distributed_optimizer: true, overlap_grad_reduce: true, overlap_param_gather: true}"]),
    (1, ["recompute.recompute_granularity=selective"]),
    (1, ["recompute={recompute_granularity: full, recompute_num_layers: 2}"]),
    (1, ["recompute={recompute_granularity: full, recompute_method: block, recompute_num_layers: 3}"]),
    (2, [f"{PP}=2", "recompute={recompute_granularity: full, recompute_pipeline_stages: [1]}"]),
    (1, ["train={train_iters: null, train_tokens: 1537}"]), (1, ["optimizer.min_lr=1e-3"]),
])
def test_what_can_train_is_accepted(world_size, overrides):
    check_config(build(*overrides), world_size, files=False)


def test_the_launched_ranks_are_checked_by_default():
    config = build("launch={num_nodes: 2, ranks_per_node: 3}")
    assert "= 6" in message_of(config, None)


def test_tokens_are_rounded_down_to_steps():
    config = build("train={train_iters: null, train_tokens: 1281}")
    assert (config.tokens_per_step, config.num_steps) == (256, 5)


@pytest.fixture
def tokens(tmp_path) -> Path:
    for suffix in (".bin", ".idx"):
        (tmp_path / f"tokens{suffix}").touch()
    (tmp_path / "tokenizer.model").touch()
    (tmp_path / "manifest.json").touch()
    return tmp_path


@pytest.mark.parametrize(("data", "part", "key"), [
    ("{manifest: null}", "data.manifest is None and data.data_path is None", "data.manifest"),
    ("{data_path: [HERE/tokens]}", "data.data_path is", "data.manifest"),
    ("{manifest: HERE/no.json}", "manifest HERE/no.json does not exist", "data.manifest"),
    ("{manifest: HERE/manifest.json, tokenizer_model: HERE/no.model}", "no.model", "data.tokenizer_model"),
    ("{manifest: HERE/manifest.json, valid_data_path: [HERE/tokens]}", "beside data.manifest", "data.valid_data_path"),
    ("{manifest: null, data_path: [HERE/tokens]}", "without data.tokenizer_model", "data.tokenizer_model"),
    ("{manifest: null, data_path: [HERE/tokens], tokenizer_model: HERE/tokenizer.model, blend: {ja: 1}}",
     "data.blend is", "data.blend"),
    ("{manifest: null, data_path: [0.5, HERE/tokens, 0.5, HERE/other], tokenizer_model: HERE/tokenizer.model}",
     "token file HERE/other.bin", "data.data_path"),
    ("{manifest: null, data_path: [HERE/tokens], valid_data_path: [HERE/v], tokenizer_model: HERE/tokenizer.model}",
     "token file HERE/v.bin", "data.valid_data_path"),
])
def test_missing_data_is_named(tokens, data, part, key):
    message = message_of(build("data=" + data.replace("HERE", str(tokens))), 1, files=True)
    assert part.replace("HERE", str(tokens)) in message
    assert message.endswith(f"[{key}]")


def test_one_half_of_the_token_files_is_not_enough(tokens):
    (tokens / "tokens.idx").unlink()
    config = build(f"data={{manifest: null, data_path: [{tokens}/tokens], tokenizer_model: {tokens}/tokenizer.model}}")
    assert "tokens.idx does not exist" in message_of(config, 1, files=True)


def test_a_checkpoint_to_load_must_exist(tokens):
    config = build(f"data.manifest={tokens}/manifest.json", f"checkpoint.load={tokens}/checkpoints")
    message = message_of(config, 1, files=True)
    assert message.endswith("[checkpoint.load]")
    (tokens / "checkpoints").mkdir()
    check_config(config, 1)


def test_weights_and_prefixes_of_existing_files_are_accepted(tokens):
    check_config(build(f"data={{manifest: null, data_path: ['0.5', {tokens}/tokens, 1, {tokens}/tokens], "
                       f"tokenizer_model: {tokens}/tokenizer.model}}"), 1)


@given(st.integers(1, 200_000), st.sampled_from([1, 2, 4, 6]), st.sampled_from([1, 16, 128]))
def test_the_padded_vocabulary_is_the_smallest_multiple(vocab_size, tp, multiple):
    config = build(f"{TP}={tp}", f"model.make_vocab_size_divisible_by={multiple}")
    padded = padded_vocab_size(vocab_size, config)
    assert padded % (multiple * tp) == 0
    assert vocab_size <= padded < vocab_size + multiple * tp


def test_the_vocabulary_of_the_13b_run_is_padded_as_megatron_did():
    # 48,588 pieces, 128 x TP 6 = 768.
    assert padded_vocab_size(48_588, build(f"{TP}=6")) == 49_152


def test_replicas_are_what_is_left():
    assert data_parallel_size(build(f"{TP}=6", f"{PP}=8"), 13_824) == 288


ONE_RANK_FAILS = """
import os, sys
from megatron_fugaku.cli import main
config = sys.argv[1 + int(os.environ["OMPI_COMM_WORLD_RANK"])]
sys.exit(main(["pretrain", config]))
"""


@pytest.mark.mpi
def test_an_error_of_one_rank_is_said_and_ends_the_job(small_manifest, tmp_path):
    """As when a node does not see the file system."""
    good = write_config(tmp_path / "good.yaml", small_config(small_manifest, tmp_path / "run"))
    done = run_mpi(["-c", ONE_RANK_FAILS, good, tmp_path / "missing.yaml"], 2, timeout_s=100)
    assert done.returncode != 0
    assert f"{tmp_path / 'missing.yaml'} cannot be read" in done.stderr


@pytest.mark.mpi
def test_ranks_end_with_one_message_and_the_code_of_configurations(tmp_path):
    path = write_config(tmp_path / "bad.yaml", small_config(tmp_path / "no.json", tmp_path / "run"))
    done = run_mpi(["-m", "megatron_fugaku", "pretrain", path], 2)
    assert done.returncode == ConfigError.exit_code
    assert done.stderr.count("mfugaku pretrain: error:") == 1, done.stderr
    assert f"manifest {tmp_path / 'no.json'} does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
