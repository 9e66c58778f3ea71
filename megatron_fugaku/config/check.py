"""Conditions between fields: every combination that could not train is refused here, before any rank starts."""

from __future__ import annotations

from pathlib import Path

from megatron_fugaku.config.schema import RunConfig
from megatron_fugaku.errors import ConfigError


def data_parallel_size(config: RunConfig, world_size: int) -> int:
    """Return how many replicas ``world_size`` ranks hold.

    Raises:
        ConfigError: the ranks do not fill whole replicas.
    """
    parallel = config.parallel
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    if world_size % (tp * pp):
        raise ConfigError(
            f"{world_size} ranks cannot be divided into replicas of tensor {tp} x pipeline {pp} = {tp * pp} ranks",
            "every replica of the model needs all of its ranks",
            f"start a multiple of {tp * pp} ranks, or change the parallel sizes",
            "parallel.tensor_model_parallel_size")
    return world_size // (tp * pp)


def padded_vocab_size(vocab_size: int, config: RunConfig) -> int:
    """Return the vocabulary padded as Megatron pads it: a multiple of make_vocab_size_divisible_by x TP."""
    multiple = config.model.make_vocab_size_divisible_by * config.parallel.tensor_model_parallel_size
    return -(-vocab_size // multiple) * multiple


def _check_divides(divisor: int, value: int, what: str, by: str, why: str, where: str) -> None:
    if value % divisor:
        raise ConfigError(f"{what} {value} is not divisible by {by} {divisor}", why,
                          f"choose a {what} that is a multiple of {divisor}, or another {by}", where)


def check_model(config: RunConfig) -> None:
    """Check the shapes of the model alone and against tensor and pipeline parallelism."""
    model, parallel = config.model.resolved(), config.parallel
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    if config.model.kv_channels is None:
        _check_divides(model.num_attention_heads, model.hidden_size, "hidden_size", "num_attention_heads",
                       "every head needs the same width", "model.hidden_size")
    _check_divides(tp, model.num_attention_heads, "num_attention_heads", "tensor_model_parallel_size",
                   "each tensor-parallel rank computes whole heads", "model.num_attention_heads")
    _check_divides(model.num_query_groups, model.num_attention_heads, "num_attention_heads", "num_query_groups",
                   "every group of query heads shares one key/value head", "model.num_query_groups")
    _check_divides(tp, model.num_query_groups, "num_query_groups", "tensor_model_parallel_size",
                   "each tensor-parallel rank computes whole key/value heads", "model.num_query_groups")
    _check_divides(tp, model.ffn_hidden_size, "ffn_hidden_size", "tensor_model_parallel_size",
                   "the feed-forward matrices are cut along this dimension", "model.ffn_hidden_size")
    if model.max_position_embeddings < model.seq_length:
        raise ConfigError(f"seq_length {model.seq_length} exceeds max_position_embeddings "
                          f"{model.max_position_embeddings}", "later positions would have no embedding",
                          "raise max_position_embeddings", "model.max_position_embeddings")
    if model.position_embedding_type == "rope" and model.kv_channels % 2:
        raise ConfigError(f"kv_channels {model.kv_channels} is odd", "rotary embeddings turn pairs of channels",
                          "choose an even kv_channels", "model.kv_channels")
    chunks = parallel.virtual_pipeline_model_parallel_size or 1
    if chunks > 1 and pp == 1:
        raise ConfigError(f"virtual_pipeline_model_parallel_size is {chunks} but pipeline_model_parallel_size is 1",
                          "interleaving needs a pipeline", "raise pipeline_model_parallel_size or remove it",
                          "parallel.virtual_pipeline_model_parallel_size")
    by = "pipeline_model_parallel_size" + (" x virtual_pipeline_model_parallel_size" if chunks > 1 else "")
    _check_divides(pp * chunks, model.num_layers, "num_layers", by, "every pipeline stage holds the same number of "
                   "layers", "model.num_layers")
    if parallel.sequence_parallel:
        if tp == 1:
            raise ConfigError("sequence_parallel is on but tensor_model_parallel_size is 1",
                              "it shares the sequence between tensor-parallel ranks", "switch it off or raise "
                              "tensor_model_parallel_size", "parallel.sequence_parallel")
        _check_divides(tp, model.seq_length, "seq_length", "tensor_model_parallel_size",
                       "sequence parallelism cuts the sequence into equal parts", "model.seq_length")
    if parallel.overlap_param_gather and not (parallel.use_distributed_optimizer and parallel.overlap_grad_reduce):
        raise ConfigError("overlap_param_gather is on without use_distributed_optimizer and overlap_grad_reduce",
                          "only sharded parameters are gathered, bucket by bucket", "switch both on",
                          "parallel.overlap_param_gather")


def check_recompute(config: RunConfig) -> None:
    """Check the recomputation options against each other and the pipeline."""
    recompute, pp = config.recompute, config.parallel.pipeline_model_parallel_size
    granularity = recompute.recompute_granularity
    if granularity != "full" and (recompute.recompute_method or recompute.recompute_num_layers):
        raise ConfigError(f"recompute_method and recompute_num_layers are given with recompute_granularity "
                          f"{granularity}", "they choose layers for full recomputation only",
                          "set recompute_granularity to full or remove them", "recompute.recompute_granularity")
    if granularity == "full" and recompute.recompute_method != "block":
        chunks = pp * (config.parallel.virtual_pipeline_model_parallel_size or 1)
        _check_divides(recompute.recompute_num_layers or 1, config.model.num_layers // chunks,
                       "number of layers of a pipeline stage" if chunks == pp else "number of layers of a model chunk",
                       "recompute_num_layers", "uniform recomputation cuts them into units of that many",
                       "recompute.recompute_num_layers")
    stages = recompute.recompute_pipeline_stages
    if stages is None:
        return
    if granularity is None:
        raise ConfigError(f"recompute_pipeline_stages is {stages} without recompute_granularity",
                          "nothing says what to recompute there", "set recompute_granularity",
                          "recompute.recompute_pipeline_stages")
    if stages and max(stages) >= pp:
        raise ConfigError(f"recompute_pipeline_stages names stage {max(stages)} of a pipeline of {pp}",
                          f"stages are counted from 0 to {pp - 1}", "remove it",
                          "recompute.recompute_pipeline_stages")


def check_batch(config: RunConfig, world_size: int) -> None:
    """Check the batch sizes against the number of ranks, and the length of the run."""
    train, parallel = config.train, config.parallel
    dp = data_parallel_size(config, world_size)
    per_step = train.micro_batch_size * dp
    if train.global_batch_size % per_step:
        raise ConfigError(
            f"global_batch_size {train.global_batch_size} is not divisible by micro_batch_size "
            f"{train.micro_batch_size} x data-parallel size {dp} = {per_step}",
            "every replica computes the same number of micro-batches in a step",
            f"choose a multiple of {per_step}, or another number of ranks", "train.global_batch_size")
    num_microbatches = train.global_batch_size // per_step
    pp = parallel.pipeline_model_parallel_size
    if (parallel.virtual_pipeline_model_parallel_size or 1) > 1 and num_microbatches % pp:
        raise ConfigError(
            f"{num_microbatches} micro-batches a step cannot be interleaved over a pipeline of {pp}",
            "the interleaved schedule runs groups of that many micro-batches",
            f"choose global_batch_size a multiple of {per_step * pp}", "train.global_batch_size")
    if (train.train_iters is None) == (train.train_tokens is None):
        raise ConfigError(f"train_iters is {train.train_iters} and train_tokens is {train.train_tokens}",
                          "exactly one of them says how long to train", "give one of the two", "train.train_iters")
    if config.num_steps == 0:
        raise ConfigError(f"train_tokens {train.train_tokens} is less than one step of {config.tokens_per_step} "
                          "tokens", "no step would be made", "raise it or choose a smaller batch", "train.train_tokens")


def check_optimizer(config: RunConfig) -> None:
    """Check the learning-rate schedule."""
    optimizer = config.optimizer
    if optimizer.min_lr > optimizer.lr:
        raise ConfigError(f"min_lr {optimizer.min_lr} is above lr {optimizer.lr}", "the rate decays from lr to min_lr",
                          "swap them", "optimizer.min_lr")
    total = optimizer.lr_decay_tokens or config.num_steps * config.tokens_per_step
    if optimizer.lr_warmup_tokens >= total:
        raise ConfigError(f"lr_warmup_tokens {optimizer.lr_warmup_tokens} is not below the {total} tokens of decay",
                          "the rate would never reach its peak", "shorten the warm-up", "optimizer.lr_warmup_tokens")


def check_engine(config: RunConfig) -> None:
    """Check what ``engine: deepspeed`` leaves to megatron-core's engine."""
    if config.engine == "megatron":
        if config.deepspeed.load_universal:
            raise ConfigError("deepspeed.load_universal is on and engine is megatron",
                              "megatron-core's engine reads checkpoints of its own, of any layout",
                              "set engine=deepspeed, or switch it off", "deepspeed.load_universal")
        return
    parallel = config.parallel
    if (config.deepspeed.load_universal and config.deepspeed.zero_stage == 3
            and parallel.tensor_model_parallel_size > 1):
        raise ConfigError("deepspeed.load_universal is on with deepspeed.zero_stage 3 and tensor_model_parallel_size "
                          f"{parallel.tensor_model_parallel_size}", "DeepSpeed gives whole parameters to the shards of "
                          "ZeRO 3, not those of a tensor-parallel rank", "choose zero_stage 1 or 2, or "
                          "tensor_model_parallel_size 1", "deepspeed.load_universal")
    if config.checkpoint.finetune and config.deepspeed.zero_stage == 3:
        raise ConfigError("checkpoint.finetune is on with deepspeed.zero_stage 3",
                          "DeepSpeed keeps the weights of ZeRO 3 in the optimizer's state, and loads none without it",
                          "train that checkpoint on, or choose zero_stage 1 or 2 with a checkpoint of those",
                          "checkpoint.finetune")
    for name, off in (("pipeline_model_parallel_size", 1), ("sequence_parallel", False),
                      ("use_distributed_optimizer", False), ("overlap_grad_reduce", False),
                      ("overlap_param_gather", False), ("ddp_bucket_size", None)):
        if getattr(parallel, name) != off:
            raise ConfigError(f"parallel.{name} is {getattr(parallel, name)} and engine is deepspeed",
                              "DeepSpeed shards replicas of tensor-parallel ranks in its own way",
                              f"set engine=megatron, or leave it at {'null' if off is None else str(off).lower()}",
                              f"parallel.{name}")


def check_kernels(config: RunConfig) -> None:
    """Check that chosen kernels are for the precision of the run."""
    precision = config.train.precision
    needed = {"fp16_native": "fp16", "bf16_native": "bf16"}.get(config.kernels.matmul, precision)
    if precision != needed:
        raise ConfigError(f"kernels.matmul is {config.kernels.matmul} and train.precision is {precision}",
                          f"it multiplies matrices of {needed} alone, and this run has none",
                          "choose auto or kernel", "kernels.matmul")


def check_files(config: RunConfig) -> None:
    """Check that the data, tokenizer and checkpoint named exist."""
    data = config.data
    if (data.manifest is None) == (data.data_path is None):
        raise ConfigError(f"data.manifest is {data.manifest} and data.data_path is {data.data_path}",
                          "exactly one of them names the tokens", "give one of the two", "data.manifest")

    def check_file(path: Path, what: str, fix: str, where: str) -> None:
        if not path.is_file():
            raise ConfigError(f"{what} {path} does not exist", "training reads it on every rank", fix, where)

    if data.manifest is not None:
        if data.valid_data_path is not None:
            raise ConfigError(f"data.valid_data_path is {data.valid_data_path} beside data.manifest",
                              "the manifest has its own validation tokens", "remove it", "data.valid_data_path")
        check_file(data.manifest, "manifest", "write it with `mfugaku data RECIPE`", "data.manifest")
    else:
        if data.tokenizer_model is None:
            raise ConfigError("data.data_path is given without data.tokenizer_model",
                              "documents end with the tokenizer's end-of-document token",
                              "give the model that made the tokens", "data.tokenizer_model")
        if data.blend is not None:
            raise ConfigError(f"data.blend is {data.blend} without data.manifest",
                              "its languages are names of the manifest", "put the weights into data.data_path",
                              "data.blend")
        for key in ("data_path", "valid_data_path"):
            for prefix in (item for item in getattr(data, key) or [] if isinstance(item, str) and not _is_number(item)):
                for suffix in (".bin", ".idx"):
                    check_file(Path(prefix + suffix), "token file", "write it with `mfugaku data RECIPE`",
                               f"data.{key}")
    if data.tokenizer_model is not None:
        check_file(data.tokenizer_model, "tokenizer", "write it with `mfugaku data RECIPE`", "data.tokenizer_model")
    load = config.checkpoint.load
    if load is not None and not load.is_dir():
        raise ConfigError(f"checkpoint directory {load} does not exist", "the run was told to start from it",
                          "correct the path or remove checkpoint.load", "checkpoint.load")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_config(config: RunConfig, world_size: int | None = None, files: bool = True) -> None:
    """Refuse what cannot run.

    Args:
        config: the run.
        world_size: ranks it will have; None takes ``launch``'s.
        files: also check that the files named exist here.

    Raises:
        ConfigError: the first condition that does not hold.
    """
    world_size = config.num_ranks if world_size is None else world_size
    check_model(config)
    check_recompute(config)
    data_parallel_size(config, world_size)
    check_batch(config, world_size)
    check_optimizer(config)
    check_engine(config)
    check_kernels(config)
    if files:
        check_files(config)
