"""What a rank holds in memory, by arithmetic: weights, gradients, Adam's moments, activations, logits.

Counted: parameters as megatron-core cuts them (matrices and vocabulary by TP, layers by PP, tied output embedding on
the last stage too), one gradient in fp32, both Adam moments in fp32 and, for bf16, the fp32 copy of the weights
(cut by DP with the distributed optimizer); activations that autograd keeps for the micro-batches in flight of 1F1B or
its interleaved form; one layer's activations again while it is recomputed; three copies of the fp32 logits on the last
stage; a fixed allowance for the interpreter, libraries and MPI buffers.
Not counted: page cache, fragmentation of the allocator, temporary buffers of a single operation.

Activations per layer follow the term-by-term count of Korthikanti et al., "Reducing Activation Recomputation in Large
Transformer Models" (arXiv:2205.05198), section 4, with the element size left open. The kernels of attention and dropout
keep neither scores nor masks. Where ``kernels`` of the run chooses torch's own, both are counted, masks in the type of
the activations: torch's dropout on CPU multiplies by a mask of that type and keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass

from megatron_fugaku.config import RunConfig, data_parallel_size, padded_vocab_size
from megatron_fugaku.errors import ConfigError, PlanError

RUNTIME_BYTES = 1 << 30
GIB = 1 << 30


def _vocab_size(config: RunConfig, vocab_size: int | None) -> int:
    size = vocab_size or config.model.vocab_size
    if size is None:
        raise ConfigError("model.vocab_size is not given", "the embeddings cannot be counted without it",
                          "give the tokenizer's number of pieces", "model.vocab_size")
    return size


def count_layer_parameters(config: RunConfig, tp: int = 1) -> int:
    """Return the parameters of one transformer layer that one of ``tp`` tensor-parallel ranks holds."""
    model = config.model.resolved()
    h, ffn = model.hidden_size, model.ffn_hidden_size
    query = model.num_attention_heads * model.kv_channels
    qkv = query + 2 * model.num_query_groups * model.kv_channels
    norms = 2 * h * (2 if model.normalization == "LayerNorm" else 1)
    fc1 = ffn * (2 if model.swiglu else 1)
    cut = h * qkv + query * h + h * fc1 + ffn * h
    cut += qkv if (model.add_bias_linear or model.add_qkv_bias) else 0
    whole = norms
    if model.add_bias_linear:
        cut += fc1
        whole += 2 * h
    return cut // tp + whole


def count_parameters(config: RunConfig, vocab_size: int | None = None, padded: bool = False) -> int:
    """Return the parameters of the whole model.

    Args:
        config: the run.
        vocab_size: None takes model.vocab_size.
        padded: count the vocabulary as Megatron pads it.

    Raises:
        ConfigError: the size of the vocabulary is unknown.
    """
    model = config.model.resolved()
    vocab = _vocab_size(config, vocab_size)
    vocab = padded_vocab_size(vocab, config) if padded else vocab
    h = model.hidden_size
    count = model.num_layers * count_layer_parameters(config) + vocab * h
    count += vocab * h if model.untie_embeddings_and_output_weights else 0
    count += model.max_position_embeddings * h if model.position_embedding_type == "learned_absolute" else 0
    return count + h * (2 if model.normalization == "LayerNorm" else 1)


@dataclass(frozen=True)
class StageMemory:
    """Bytes on each rank of one pipeline stage."""

    stage: int
    num_parameters: int
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    recompute_bytes: int
    logits_bytes: int
    runtime_bytes: int = RUNTIME_BYTES

    @property
    def total_bytes(self) -> int:
        """Everything counted."""
        return (self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes
                + self.recompute_bytes + self.logits_bytes + self.runtime_bytes)


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of a run: one entry per pipeline stage."""

    stages: tuple[StageMemory, ...]
    ranks_per_node: int

    @property
    def largest(self) -> StageMemory:
        """The stage that needs most."""
        return max(self.stages, key=lambda stage: stage.total_bytes)

    @property
    def node_bytes(self) -> int:
        """Bytes on the fullest node, taking all its ranks to be of the largest stage."""
        return self.ranks_per_node * self.largest.total_bytes

    def explain(self) -> str:
        """Return a table in GiB, one line per stage, and what is counted."""
        columns = ("weights", "gradients", "optimizer", "activations", "recompute", "logits", "runtime", "total")
        lines = ["stage  parameters  " + "  ".join(f"{name:>11}" for name in columns)]
        for stage in self.stages:
            cells = "  ".join(f"{getattr(stage, f'{name}_bytes') / GIB:11.2f}" for name in columns)
            lines.append(f"{stage.stage:5d}  {stage.num_parameters:10d}  {cells}")
        lines.append(f"GiB per rank; the fullest node of {self.ranks_per_node} rank"
                     f"{'s' * (self.ranks_per_node > 1)} needs {self.node_bytes / GIB:.1f} GiB (stage "
                     f"{self.largest.stage}). Page cache and temporary buffers of single operations are not counted.")
        return "\n".join(lines)


def _layer_activation_elements(config: RunConfig, granularity: str | None) -> float:
    """Elements that autograd keeps of one layer for one micro-batch, on one rank."""
    model, parallel = config.model.resolved(), config.parallel
    tp = parallel.tensor_model_parallel_size
    tokens = model.seq_length * config.train.micro_batch_size
    h = model.hidden_size
    outer = tp if parallel.sequence_parallel else 1
    if granularity == "full":
        return tokens * h / outer
    query = model.num_attention_heads * model.kv_channels
    key_value = 2 * model.num_query_groups * model.kv_channels
    masks = 2 * (model.hidden_dropout > 0 and config.kernels.dropout == "reference")
    # Inputs of both norms and of both column-parallel matrices, and the two hidden dropout masks.
    elements = tokens * h * (4 + masks) / outer
    # Query, key, value; input of the output projection; inputs of the activation and of the second matrix.
    mlp = 4 * model.ffn_hidden_size if model.swiglu else 2 * model.ffn_hidden_size
    elements += tokens * (2 * query + key_value + mlp) / tp
    if granularity != "selective" and config.kernels.attention == "reference":
        # Softmax output, dropout mask and dropout output.
        kept = 3 if model.attention_dropout > 0 else 1
        elements += tokens * model.seq_length * model.num_attention_heads * kept / tp
    return elements


def _layer_passes_in_flight(config: RunConfig, stage: int, num_microbatches: int) -> int:
    """Layers times micro-batches whose activations a stage holds at most, in 1F1B or its interleaved form."""
    pp = config.parallel.pipeline_model_parallel_size
    chunks = config.parallel.virtual_pipeline_model_parallel_size or 1
    layers = config.model.num_layers // pp
    if chunks == 1:
        return min(num_microbatches, pp - stage) * layers
    warmup = 2 * (pp - stage - 1) + (chunks - 1) * pp
    return min(num_microbatches * chunks, warmup + 1) * (layers // chunks)


def _activation_bytes(config: RunConfig, stage: int, num_microbatches: int) -> tuple[int, int]:
    """Return (bytes kept for the backward pass, bytes made again while it runs) of one rank of a stage."""
    element = 2 if config.train.precision == "bf16" else 4
    recompute = config.recompute
    stages = recompute.recompute_pipeline_stages
    granularity = recompute.recompute_granularity if stages is None or stage in stages else None
    passes = _layer_passes_in_flight(config, stage, num_microbatches)
    plain = _layer_activation_elements(config, None) * element
    if granularity is None:
        return int(passes * plain), 0
    kept = _layer_activation_elements(config, granularity) * element
    if granularity == "selective":
        return int(passes * kept), int(plain - kept)
    group = recompute.recompute_num_layers or 1
    if (recompute.recompute_method or "uniform") == "uniform":
        # One input per group of layers is kept, and the whole group comes back at once.
        return int(passes * kept / group), int(group * plain)
    chunks = config.parallel.virtual_pipeline_model_parallel_size or 1
    layers = config.model.num_layers // config.parallel.pipeline_model_parallel_size // chunks
    share = min(1.0, group / layers)
    return int(passes * (share * kept + (1 - share) * plain)), int(plain)


def count_stage_parameters(config: RunConfig, stage: int, vocab_size: int) -> int:
    """Return the parameters of one rank of a stage; a tied output embedding is a copy on the last stage."""
    model, parallel = config.model.resolved(), config.parallel
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    first, last = stage == 0, stage == pp - 1
    count = model.num_layers // pp * count_layer_parameters(config, tp)
    num_embeddings = first + (last and (pp > 1 or model.untie_embeddings_and_output_weights))
    count += num_embeddings * (vocab_size * model.hidden_size // tp)
    if first and model.position_embedding_type == "learned_absolute":
        count += model.max_position_embeddings * model.hidden_size
    if last:
        count += model.hidden_size * (2 if model.normalization == "LayerNorm" else 1)
    return count


def plan_memory(config: RunConfig, world_size: int | None = None, vocab_size: int | None = None) -> MemoryPlan:
    """Estimate the memory of every pipeline stage.

    Args:
        config: a checked run.
        world_size: ranks; None takes ``launch``'s.
        vocab_size: None takes model.vocab_size.

    Raises:
        ConfigError: the vocabulary is unknown, or the ranks do not fill whole replicas.
    """
    model, parallel, train = config.model, config.parallel, config.train
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    dp = data_parallel_size(config, config.num_ranks if world_size is None else world_size)
    num_microbatches = max(1, train.global_batch_size // (train.micro_batch_size * dp))
    vocab = padded_vocab_size(_vocab_size(config, vocab_size), config)
    is_bf16 = train.precision == "bf16"
    # Two moments in fp32, and for bf16 the fp32 weights that are updated.
    optimizer_bytes = 12 if is_bf16 else 8
    zero_stage = config.deepspeed.zero_stage if config.engine == "deepspeed" else int(
        parallel.use_distributed_optimizer)
    of_optimizer, of_gradients, of_weights = (dp if zero_stage >= stage else 1 for stage in (1, 2, 3))
    stages = []
    for stage in range(pp):
        parameters = count_stage_parameters(config, stage, vocab)
        activations, again = _activation_bytes(config, stage, num_microbatches)
        logits = 3 * 4 * train.micro_batch_size * model.seq_length * vocab // tp if stage == pp - 1 else 0
        stages.append(StageMemory(stage, parameters, parameters * (2 if is_bf16 else 4) // of_weights,
                                  parameters * 4 // of_gradients, parameters * optimizer_bytes // of_optimizer,
                                  activations, again, logits))
    return MemoryPlan(tuple(stages), config.launch.ranks_per_node)


def check_memory(plan: MemoryPlan, node_memory_bytes: int, where: str = "launch.node_memory_gib") -> None:
    """Refuse a run whose fullest node would not hold it.

    Raises:
        PlanError: naming the stage, what it needs and what there is.
    """
    if plan.node_bytes <= node_memory_bytes:
        return
    stage = plan.largest
    largest = max(("weights", "gradients", "optimizer", "activations"),
                  key=lambda name: getattr(stage, f"{name}_bytes"))
    fixes = {
        "activations": "recompute on that stage (recompute.recompute_granularity: full, recompute_pipeline_stages), or "
                       "raise tensor_model_parallel_size",
        "optimizer": "switch on parallel.use_distributed_optimizer, or raise the tensor or pipeline size",
    }
    raise PlanError(
        f"pipeline stage {stage.stage} needs {stage.total_bytes / GIB:.1f} GiB per rank x {plan.ranks_per_node} per "
        f"node = {plan.node_bytes / GIB:.1f} GiB, but a node has {node_memory_bytes / GIB:.1f} GiB (most is {largest}: "
        f"{getattr(stage, f'{largest}_bytes') / GIB:.1f} GiB)", "the job would be killed for memory on its first step",
        fixes.get(largest, "raise tensor_model_parallel_size or pipeline_model_parallel_size"), where)
