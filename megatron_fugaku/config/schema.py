"""The one object that describes a run: what a YAML file may say, with types, defaults and units.

Field names are Megatron's. Unknown keys are refused. Conditions between fields stand in :mod:`.check`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base of all sections: no unknown keys, and changes are validated too."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False, protected_namespaces=())


class ModelConfig(Section):
    """The network. ``style`` sets what GPT and Llama do differently; any field given explicitly wins over it."""

    style: Literal["gpt", "llama"] = Field("gpt", description="gpt: learned positions, LayerNorm, GELU, biases, tied "
                                           "embeddings (Fugaku-LLM). llama: RoPE, RMSNorm, SwiGLU, no biases.")
    num_layers: PositiveInt
    hidden_size: PositiveInt
    num_attention_heads: PositiveInt
    num_query_groups: PositiveInt | None = Field(None, description="Key/value heads (GQA); null means one per head.")
    ffn_hidden_size: PositiveInt | None = Field(None, description="null: 4 x hidden_size (gpt), 8/3 of it (llama).")
    kv_channels: PositiveInt | None = Field(None, description="Width of a head; null: hidden_size / heads.")
    seq_length: PositiveInt
    max_position_embeddings: PositiveInt | None = Field(None, description="null: seq_length.")
    vocab_size: PositiveInt | None = Field(None, description="null: the tokenizer's.")
    make_vocab_size_divisible_by: PositiveInt = Field(128, description="The vocabulary is padded to a multiple of "
                                                      "this times tensor_model_parallel_size.")
    position_embedding_type: Literal["learned_absolute", "rope"] | None = None
    rotary_base: PositiveInt = 10000
    rotary_percent: float = Field(1.0, gt=0.0, le=1.0)
    normalization: Literal["LayerNorm", "RMSNorm"] | None = None
    layernorm_epsilon: float = Field(1e-5, gt=0.0)
    swiglu: bool | None = None
    add_bias_linear: bool | None = None
    add_qkv_bias: bool = False
    untie_embeddings_and_output_weights: bool | None = None
    attention_dropout: Fraction = 0.1
    hidden_dropout: Fraction = 0.1
    init_method_std: float = Field(0.02, gt=0.0, description="Output layers use it divided by sqrt(2 num_layers).")

    def resolved(self) -> ModelConfig:
        """Return a copy in which every field that ``style`` or another field decides is filled in."""
        llama = self.style == "llama"
        swiglu = llama if self.swiglu is None else self.swiglu
        ffn = self.ffn_hidden_size
        if ffn is None:
            ffn = -(-self.hidden_size * 8 // 3) if swiglu else 4 * self.hidden_size
            ffn = -(-ffn // 64) * 64 if swiglu else ffn
        filled = {
            "swiglu": swiglu,
            "ffn_hidden_size": ffn,
            "num_query_groups": self.num_query_groups or self.num_attention_heads,
            "kv_channels": self.kv_channels or max(1, self.hidden_size // self.num_attention_heads),
            "max_position_embeddings": self.max_position_embeddings or self.seq_length,
            "position_embedding_type": self.position_embedding_type or ("rope" if llama else "learned_absolute"),
            "normalization": self.normalization or ("RMSNorm" if llama else "LayerNorm"),
            "add_bias_linear": (not llama) if self.add_bias_linear is None else self.add_bias_linear,
            "untie_embeddings_and_output_weights": (
                llama if self.untie_embeddings_and_output_weights is None else self.untie_embeddings_and_output_weights
            ),
        }
        return self.model_copy(update=filled)


class ParallelConfig(Section):
    """How the ranks share the model. Data parallelism is what is left: ranks / (tensor x pipeline)."""

    tensor_model_parallel_size: PositiveInt = 1
    pipeline_model_parallel_size: PositiveInt = 1
    virtual_pipeline_model_parallel_size: PositiveInt | None = Field(
        None, description="Model chunks per pipeline stage (interleaved schedule); null: plain 1F1B.")
    sequence_parallel: bool = False
    use_distributed_optimizer: bool = False
    overlap_grad_reduce: bool = False
    overlap_param_gather: bool = False
    ddp_bucket_size: PositiveInt | None = Field(None, description="Elements per gradient bucket; null: one bucket, or "
                                                "megatron-core's choice when overlap_grad_reduce is on.")


WireFormat = Literal["fp32", "bf16", "fp16"]


class WireConfig(Section):
    """What sums of long float32 vectors travel as between nodes; they are accumulated in float32 in any case."""

    tensor: WireFormat = Field("fp32", description="All-reduce and reduce-scatter of activations.")
    data: WireFormat = Field("fp32", description="All-reduce and reduce-scatter of gradients. Over 288 ranks in a "
                             "ring, bf16 is off by 2 % of a sum's size and fp16, which ends at 65504, by 0.2 %.")


class CommConfig(Section):
    """Communication between ranks."""

    wire_dtype: WireConfig = WireConfig()


Implementation = Literal["auto", "kernel", "reference"]
ProductImplementation = Literal["auto", "kernel", "reference", "fp16_native", "bf16_native"]


class KernelsConfig(Section):
    """Compiled kernels or torch's own operators. ``kernels: reference`` stands for that choice of all of them."""

    adamw: Implementation = Field("auto", description="auto: the kernel, where it was built and torch was not "
                                  "measured to be faster.")
    attention: Implementation = "auto"
    bias_gelu: Implementation = "auto"
    cast: Implementation = "auto"
    cross_entropy: Implementation = "auto"
    dropout: Implementation = "auto"
    embedding: Implementation = "auto"
    grad_norm: Implementation = "auto"
    matmul: ProductImplementation = Field(
        "auto", description="Linear layers; auto leaves what torch does faster to it. fp16_native, for float16 alone: "
        "outputs are added up in float16, faster on CPUs with its arithmetic and less accurate. bf16_native, for bf16 "
        "alone: Arm's BF16 instructions, whose sums have other bits.")
    norm: Implementation = "auto"
    rope: Implementation = "auto"
    softmax: Implementation = "auto"
    swiglu: Implementation = "auto"

    @model_validator(mode="before")
    @classmethod
    def _one_for_all(cls, value: Any) -> Any:
        return dict.fromkeys(cls.model_fields, value) if isinstance(value, str) else value


class DeepSpeedConfig(Section):
    """What ``engine: deepspeed`` has of its own; batch, precision, clipping and AdamW are those of the run."""

    zero_stage: Literal[1, 2, 3] = Field(1, description="What replicas share: optimizer states, 2: gradients too, "
                                         "3: parameters too.")
    load_universal: bool = Field(False, description="Start from what DeepSpeed's ds_to_universal made of a checkpoint, "
                                 "in its folder `universal`; of any tensor and data parallel size.")


class RecomputeConfig(Section):
    """Activation recomputation, Megatron's options plus a choice of pipeline stages."""

    recompute_granularity: Literal["selective", "full"] | None = None
    recompute_method: Literal["uniform", "block"] | None = Field(None, description="full only; null: uniform.")
    recompute_num_layers: PositiveInt | None = Field(None, description="full only; null: 1.")
    recompute_pipeline_stages: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, description="Stages (0 = first) that recompute; null: all. The 13B run recomputed on its first 4 of 8.")


class TrainConfig(Section):
    """Batch, length, precision and rhythm of training. A step is one global batch."""

    micro_batch_size: PositiveInt = 1
    global_batch_size: PositiveInt
    train_iters: PositiveInt | None = Field(None, description="Steps; give this or train_tokens.")
    train_tokens: PositiveInt | None = Field(None, description="Tokens to train on, rounded down to whole steps.")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(1234, ge=0)
    eval_interval: PositiveInt | None = Field(None, description="Steps between validations; null: none.")
    eval_iters: PositiveInt = Field(8, description="Global batches per validation.")
    log_interval: PositiveInt = 1
    exit_interval: PositiveInt | None = Field(None, description="Save and stop after a step that is a multiple of "
                                           "this; the same command goes on from there.")
    max_skipped_steps: int = Field(0, ge=0, description="Steps with a non-finite loss or gradient that may be skipped "
                                   "in a row before training stops.")


class OptimizerConfig(Section):
    """AdamW and the learning rate, which is scheduled in tokens."""

    lr: float = Field(gt=0.0)
    min_lr: float = Field(0.0, ge=0.0)
    lr_decay_style: Literal["cosine", "linear", "constant"] = "cosine"
    lr_warmup_tokens: int = Field(0, ge=0)
    lr_decay_tokens: PositiveInt | None = Field(None, description="null: all tokens of the run.")
    weight_decay: float = Field(0.1, ge=0.0)
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.95
    adam_eps: float = Field(1e-8, gt=0.0)
    clip_grad: float = Field(1.0, ge=0.0, description="Global gradient norm; 0 switches clipping off.")


class DataConfig(Section):
    """Token files and tokenizer: either a manifest that ``mfugaku data`` wrote, or Megatron's own options."""

    manifest: Path | None = None
    blend: dict[str, Annotated[float, Field(gt=0.0)]] | None = Field(
        None, description="Sampling weight per language of the manifest; null: by tokens.")
    data_path: list[str | float] | None = Field(None, description="Megatron's [weight, prefix, weight, prefix, ...].")
    valid_data_path: list[str | float] | None = Field(None, description="null: cut from data_path by split.")
    split: str = Field("98,2,0", description="Train, validation, test shares of data_path.")
    tokenizer_model: Path | None = Field(None, description="SentencePiece model; null: the manifest's.")
    data_cache_path: Path | None = Field(None, description="Where index files are kept; null: in the run directory.")
    eod_mask_loss: bool = False
    reset_position_ids: bool = False
    reset_attention_mask: bool = False


class CheckpointConfig(Section):
    """Where and when checkpoints are written and read."""

    save: Path | None = Field(None, description="Directory; null: checkpoints/ in the run directory.")
    load: Path | None = Field(None, description="Directory to start from; null: `save`, when it holds a checkpoint.")
    save_interval: PositiveInt | None = Field(None, description="Steps between checkpoints; one is always written at "
                                              "the end.")
    keep_last: PositiveInt | None = Field(None, description="Checkpoints to keep; null: all.")
    finetune: bool = Field(False, description="Load the weights only: step, optimizer, RNG and data start anew.")


class LoggingConfig(Section):
    """What a run writes for people."""

    tensorboard: bool = True
    timeline_iterations: list[PositiveInt] = Field([3], description="Steps whose pipeline timeline is recorded.")


class PjmConfig(Section):
    """Fujitsu's job scheduler (pjsub). Words as the vendor writes them."""

    resource_group: str = Field("large", alias="rscgrp")
    resource_unit: str | None = Field(None, alias="rscunit")
    node: str | None = Field(None, description="Shape of the allocation, such as 48x6x48:torus; null: num_nodes.")
    elapse: str = "24:00:00"
    freq: int | None = Field(None, description="MHz, such as 2200.")
    eco_state: int | None = None
    retention_state: int | None = None
    group: str | None = None
    llio_localtmp_size: str | None = Field(None, description="Such as 40Gi.")
    llio_sharedtmp_size: str | None = Field(None, description="Such as 40Gi.")
    llio_gfscache: str | None = Field(None, description="Volumes the job uses (PJM_LLIO_GFSCACHE), such as "
                                      "/vol0003:/vol0004.")
    llio_transfer: list[str] = Field([], description="Files that every rank reads, spread to the nodes beforehand.")
    software_archive: str | None = Field(None, description="tar file unpacked into $PJM_LOCALTMP of every node before "
                                         "the ranks start; see launch.python.")
    mpi_options: list[str] = []
    rank_prefix: list[str] = Field([], description="Command put before every rank's own, such as "
                                   "[numactl, --membind=4-7].")
    modules: list[str] = []
    extra: list[str] = Field([], description="Further #PJM lines, without the prefix.")

    model_config = ConfigDict(populate_by_name=True)


class SlurmConfig(Section):
    """Slurm (sbatch)."""

    partition: str | None = None
    account: str | None = None
    time: str = "24:00:00"
    qos: str | None = None
    mpi: str = Field("pmix", description="srun --mpi value.")
    modules: list[str] = []
    extra: list[str] = Field([], description="Further #SBATCH lines, without the prefix.")


class LaunchConfig(Section):
    """Where the ranks run."""

    num_nodes: PositiveInt = 1
    ranks_per_node: PositiveInt = 1
    cpus_per_rank: PositiveInt | None = Field(None, description="Cores of a rank, one thread each; null: the node's "
                                              "cores shared equally.")
    topology: str | None = Field(None, description="Torus of the allocation, such as 48x6x48; null: none known.")
    node_memory_gib: float | None = Field(None, gt=0.0, description="Memory of a node that a job may use; a run "
                                          "that needs more is refused. null: unknown.")
    python: str | None = Field(None, description="Interpreter on the compute nodes; null: the one that renders. May "
                               "use shell variables of the job, such as ${PJM_LOCALTMP}.")
    environment: dict[str, str] = Field({}, description="Further environment variables of every rank; in job scripts "
                                        "they may use shell variables.")
    pjm: PjmConfig = PjmConfig()
    slurm: SlurmConfig = SlurmConfig()


class RunConfig(Section):
    """A whole run. ``scales`` holds named sets of overrides and ``scale`` picks one, so that the very same file
    describes the full run and a run that fits on a desk."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    run_dir: Path | None = Field(None, description="null: runs/<name>.")
    scale: str | None = None
    engine: Literal["megatron", "deepspeed"] = Field("megatron", description="Whose data parallelism, optimizer and "
                                                     "checkpoints.")
    model: ModelConfig
    parallel: ParallelConfig = ParallelConfig()
    comm: CommConfig = CommConfig()
    kernels: KernelsConfig = KernelsConfig()
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    recompute: RecomputeConfig = RecomputeConfig()
    train: TrainConfig
    optimizer: OptimizerConfig
    data: DataConfig = DataConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    logging: LoggingConfig = LoggingConfig()
    launch: LaunchConfig = LaunchConfig()

    @property
    def directory(self) -> Path:
        """The run folder."""
        return self.run_dir or Path("runs") / self.name

    @property
    def checkpoint_directory(self) -> Path:
        """Where checkpoints are written."""
        return self.checkpoint.save or self.directory / "checkpoints"

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one global batch."""
        return self.train.global_batch_size * self.model.seq_length

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        if self.train.train_iters is not None:
            return self.train.train_iters
        return (self.train.train_tokens or 0) // self.tokens_per_step

    @property
    def num_ranks(self) -> int:
        """Ranks that :mod:`megatron_fugaku.launch` starts."""
        return self.launch.num_nodes * self.launch.ranks_per_node
