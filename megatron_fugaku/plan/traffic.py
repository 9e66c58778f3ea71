"""What a training step sends: which dimension, how many bytes, how often, counted from the configuration.

Per micro-batch a transformer layer makes two tensor-parallel all-reduces forward and two backward, of
sequence x micro-batch x hidden activations (Shoeybi et al., arXiv:1909.08053, section 3); full recomputation repeats
the forward ones, but for the last of a layer that is recomputed by itself (``model/recompute.py``). Sequence
parallelism makes each a reduce-scatter and an all-gather, and gathers twice more backward (Korthikanti et al.,
arXiv:2205.05198, section 4.2.2), which counts as one all-reduce more. The first stage also sums the embedding and the
last the gradient of the logits' input; with sequence parallelism both gather once more, the first only where positions
are learned. A pipeline stage passes the same activations on, and gets gradients back. Gradients are summed once a step,
in fp32, and with the distributed optimizer weights are gathered; both halves move as many bytes as an all-reduce when
weights are fp32.
Not counted: scalars such as the gradient norm, the cross entropy's three numbers per token, and with sequence
parallelism the gradients of the norms. The tests count the operations of megatron-core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from megatron_fugaku.config import RunConfig, data_parallel_size, padded_vocab_size
from megatron_fugaku.plan.memory import count_layer_parameters, count_stage_parameters
from megatron_fugaku.plan.rank_matrix import RankMatrix

TENSOR, PIPELINE, DATA, EMBEDDING = "tp", "pp", "dp", "embedding"
GRADIENT_BYTES = 4
ALLREDUCES_PER_LAYER = 4


@dataclass(frozen=True)
class Phase:
    """One kind of communication of a step.

    Attributes:
        kind: "tp" (all-reduce), "pp" (to the next stage and back), "dp" (all-reduce, or its two halves), "embedding"
            (all-reduce of the tied embedding between the first and the last stage).
        num_bytes: of the vector or the message.
        count: how often a rank does it in a step; halves are reduce-scatters or all-gathers alone.
        wraps: the last stage also passes on to the first, as in the interleaved schedule.
    """

    kind: str
    num_bytes: float
    count: float
    wraps: bool = False


@dataclass(frozen=True)
class Traffic:
    """All phases of a step, on the stage that sends most, or on one without what only some stages do."""

    name: str
    phases: tuple[Phase, ...]

    def phase(self, kind: str) -> Phase | None:
        """Return the phase of a kind; None when there is none."""
        return next((phase for phase in self.phases if phase.kind == kind), None)

    def scaled(self, factor: float) -> Traffic:
        """Return the same with every byte count times ``factor``: 0.5 for 16-bit payloads of 32-bit values."""
        return Traffic(self.name, tuple(replace(phase, num_bytes=phase.num_bytes * factor) for phase in self.phases))


def rank_matrix(config: RunConfig) -> RankMatrix:
    """Return the ranks of a run."""
    parallel = config.parallel
    return RankMatrix(parallel.tensor_model_parallel_size, data_parallel_size(config, config.num_ranks),
                      parallel.pipeline_model_parallel_size)


def _stages_that_recompute(config: RunConfig) -> set[int]:
    if config.recompute.recompute_granularity != "full":
        return set()
    stages = config.recompute.recompute_pipeline_stages
    return set(range(config.parallel.pipeline_model_parallel_size) if stages is None else stages)


def _count_recomputed(config: RunConfig, num_layers: int) -> int:
    """Return the tensor-parallel all-reduces of a micro-batch that the layers of a stage make once more."""
    method, num_at_once = config.recompute.recompute_method, config.recompute.recompute_num_layers
    if method == "block":
        return 2 * min(num_at_once or 1, num_layers)
    return num_layers * (2 if config.parallel.sequence_parallel or (num_at_once or 1) > 1 else 1)


def _count_at_ends(config: RunConfig, is_first: bool, is_last: bool) -> float:
    """Return the tensor-parallel all-reduces of a micro-batch outside the layers."""
    if not config.parallel.sequence_parallel:
        return is_first + is_last
    # With learned positions the embedding is summed whole and then cut, which its gradient has to undo.
    learned = config.model.resolved().position_embedding_type == "learned_absolute"
    return is_first * (1.5 if learned else 1) + is_last * 1.5


def plan_traffic(config: RunConfig, stage: int | None = None) -> Traffic:
    """Count the communication of a step.

    Args:
        config: a checked run.
        stage: pipeline stage; None counts a stage between first and last that recomputes nothing.
    """
    model, parallel, train = config.model.resolved(), config.parallel, config.train
    ranks = rank_matrix(config)
    num_microbatches = train.global_batch_size // (train.micro_batch_size * ranks.dp)
    value_bytes = 4 if train.precision == "fp32" else 2
    activation_bytes = model.seq_length * train.micro_batch_size * model.hidden_size * value_bytes
    layers = model.num_layers // ranks.pp
    allreduces = layers * (ALLREDUCES_PER_LAYER + (1 if parallel.sequence_parallel else 0))
    if stage is not None and stage in _stages_that_recompute(config):
        allreduces += _count_recomputed(config, layers)
    embedding = vocabulary = 0
    if stage is not None and config.model.vocab_size is not None:
        vocabulary = padded_vocab_size(config.model.vocab_size, config)
        embedding = vocabulary // ranks.tp * model.hidden_size
    if stage is None:
        parameters = layers * count_layer_parameters(config, ranks.tp)
    else:
        parameters = count_stage_parameters(config, stage, vocabulary)
    is_first, is_last = stage == 0, stage == ranks.pp - 1
    allreduces += _count_at_ends(config, is_first, is_last)
    tied = not model.untie_embeddings_and_output_weights
    phases = []
    if ranks.tp > 1:
        phases.append(Phase(TENSOR, activation_bytes, num_microbatches * allreduces))
    if ranks.pp > 1:
        # With sequence parallelism each tensor-parallel rank passes on its own part of the sequence only.
        share = ranks.tp if parallel.sequence_parallel else 1
        chunks = parallel.virtual_pipeline_model_parallel_size or 1
        phases.append(Phase(PIPELINE, activation_bytes / share, 2 * num_microbatches * chunks, chunks > 1))
    if ranks.dp > 1:
        phases.append(Phase(DATA, parameters * GRADIENT_BYTES, 1))
    if (is_first or is_last) and ranks.pp > 1 and embedding and tied:
        phases.append(Phase(EMBEDDING, embedding * GRADIENT_BYTES, 1))
    name = "a middle stage without recomputation" if stage is None else f"stage {stage} as configured"
    return Traffic(name, tuple(phases))


def plan_busiest_traffic(config: RunConfig) -> Traffic:
    """Return the traffic of the stage that sends most bytes in a step."""
    stages = [plan_traffic(config, stage) for stage in range(config.parallel.pipeline_model_parallel_size)]
    return max(stages, key=lambda traffic: sum(phase.num_bytes * phase.count for phase in traffic.phases))
