from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from small_run import VOCABULARY, small_config, write_config

from megatron_fugaku.config import build_config, load_config
from megatron_fugaku.flight.files import load_flight
from megatron_fugaku.plan.traffic import plan_busiest_traffic, plan_traffic, rank_matrix

WORKER = Path(__file__).resolve().parents[1] / "train" / "workers" / "train_layouts.py"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fugaku_13b" / "fugaku_13b.yaml"
ACTIVATIONS = 2048 * 5184 * 4


def small(**sections):
    content = {"name": "small", "model": {"num_layers": 4, "hidden_size": 64, "num_attention_heads": 4,
                                          "seq_length": 32, "vocab_size": 512, "make_vocab_size_divisible_by": 1},
               "parallel": {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2},
               "train": {"global_batch_size": 8, "train_iters": 1, "precision": "bf16"}, "optimizer": {"lr": 1e-3},
               "launch": {"num_nodes": 8}}
    for name, section in sections.items():
        content[name] = {**content.get(name, {}), **section}
    return build_config(content)


def test_the_13b_run():
    config = load_config(EXAMPLE)
    assert rank_matrix(config).world_size == 13824
    middle = plan_traffic(config)
    tp, pp, dp = (middle.phase(kind) for kind in ("tp", "pp", "dp"))
    # 2,016 sequences on 288 replicas are 7 micro-batches; five layers with four all-reduces each.
    assert (tp.num_bytes, tp.count) == (ACTIVATIONS, 140)
    assert (pp.num_bytes, pp.count, pp.wraps) == (ACTIVATIONS, 14, False)
    assert dp.num_bytes == 4 * 268_924_320 and dp.count == 1  # the parameters that `mfugaku launch` prints
    assert middle.phase("embedding") is None


def test_stages_differ():
    config = load_config(EXAMPLE)
    first, third, fifth, last = (plan_traffic(config, stage) for stage in (0, 2, 4, 7))
    assert [traffic.phase("tp").count for traffic in (first, third, fifth, last)] == [182, 175, 140, 147]
    embedding = 49152 // 6 * 5184 * 4
    assert first.phase("embedding").num_bytes == last.phase("embedding").num_bytes == embedding
    assert first.phase("dp").num_bytes == third.phase("dp").num_bytes + embedding + 4 * 2048 * 5184  # and positions
    assert last.phase("dp").num_bytes == third.phase("dp").num_bytes + embedding + 4 * 2 * 5184  # and the last norm
    assert third.phase("embedding") is None
    assert plan_busiest_traffic(config) == first


def test_precision_sequence_parallelism_and_interleaving():
    plain = plan_traffic(small())
    assert plain.phase("tp").num_bytes == 32 * 64 * 2 and plain.phase("tp").count == 4 * 2 * 4
    assert plain.phase("dp").num_bytes % 4 == 0
    cut = plan_traffic(small(parallel={"sequence_parallel": True}))
    assert cut.phase("tp").count == 4 * 2 * 5 and cut.phase("pp").num_bytes == plain.phase("pp").num_bytes / 2
    assert plan_traffic(small(parallel={"sequence_parallel": True}), 0).phase("tp").count == 4 * (2 * 5 + 1.5)
    llama = small(model={"style": "llama"}, parallel={"sequence_parallel": True})
    assert [plan_traffic(llama, stage).phase("tp").count for stage in (0, 1)] == [4 * (2 * 5 + 1), 4 * (2 * 5 + 1.5)]
    woven = plan_traffic(small(parallel={"virtual_pipeline_model_parallel_size": 2}))
    assert woven.phase("pp").count == 2 * plain.phase("pp").count and woven.phase("pp").wraps


def test_untied_embeddings_are_summed_with_the_gradients_only():
    untied = small(model={"untie_embeddings_and_output_weights": True})
    assert plan_traffic(untied, 0).phase("embedding") is None
    tied = plan_traffic(small(), 0)
    assert plan_traffic(untied, 0).phase("dp") == tied.phase("dp") and tied.phase("embedding") is not None


def test_a_dimension_of_one_sends_nothing():
    alone = plan_traffic(small(parallel={"tensor_model_parallel_size": 1, "pipeline_model_parallel_size": 1},
                               launch={"num_nodes": 1}), 0)
    assert alone.phases == ()


def test_half_the_payload():
    traffic = plan_traffic(small())
    for whole, half in zip(traffic.phases, traffic.scaled(0.5).phases, strict=True):
        assert half.num_bytes == whole.num_bytes / 2 and half.count == whole.count


@pytest.mark.parametrize("vocab_size", [None])
def test_an_unknown_vocabulary_is_left_out(vocab_size):
    traffic = plan_traffic(small(model={"vocab_size": vocab_size}), 0)
    assert traffic.phase("embedding") is None and traffic.phase("dp") is not None


def count_operations(record, group: str, names: tuple[str, ...], num_bytes: float) -> int:
    """How often a rank did one of these with so many bytes; messages count whatever group they go by."""
    return sum(operation.name in names and operation.num_bytes == num_bytes and group in ("", operation.group.label)
               for operation in record.operations)


@pytest.mark.mpi
@pytest.mark.slow
def test_megatron_core_sends_what_is_counted(small_manifest, tmp_path):
    """Two steps of three micro-batches on four ranks, from the flight recorder. Sizes differ between the runs."""
    tp2_pp2 = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}
    recompute = {"recompute_granularity": "full", "recompute_pipeline_stages": [0]}
    layouts = {32: (tp2_pp2, recompute), 96: ({**tp2_pp2, "sequence_parallel": True}, recompute),
               160: ({"tensor_model_parallel_size": 2}, {})}
    paths = [write_config(tmp_path / f"{hidden}.yaml", small_config(
        small_manifest, tmp_path / str(hidden), model={"hidden_size": hidden, "vocab_size": VOCABULARY},
        parallel=parallel, recompute=recompute, optimizer={"lr_warmup_tokens": 32},
        train={"train_iters": 2, "global_batch_size": 6 if hidden == 160 else 3}, launch={"num_nodes": 4},
    )) for hidden, (parallel, recompute) in layouts.items()]
    done = run_mpi([WORKER, *paths], 4, timeout_s=280, env={"MFUGAKU_COMM_FLIGHT_DIR": str(tmp_path / "flight")})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    records = load_flight(tmp_path / "flight")
    for config in map(load_config, paths):
        ranks = rank_matrix(config)
        for record in records:
            stage = ranks.coordinate(record.rank).pp
            phases = {phase.kind: phase for phase in plan_traffic(config, stage).phases}
            tp = phases.pop("tp")
            whole, halves = (count_operations(record, "TENSOR_MODEL_PARALLEL_GROUP", names, tp.num_bytes)
                             for names in (("all_reduce",), ("all_gather", "reduce_scatter")))
            assert whole + halves / 2 == 2 * tp.count
            assert (halves > 0) == config.parallel.sequence_parallel
            if ranks.pp == 2:
                pp, tied = phases.pop("pp"), phases.pop("embedding")
                assert count_operations(record, "", ("send", "recv"), pp.num_bytes) == 2 * pp.count
                # Once more before the first step, where both ends get the same weights.
                sums = count_operations(record, "EMBEDDING_GROUP", ("all_reduce",), tied.num_bytes)
                assert sums == 2 * tied.count + 1
            else:
                dp = phases.pop("dp")
                assert count_operations(record, "DATA_PARALLEL_GROUP_WITH_CP", ("all_reduce",), dp.num_bytes) == 2
            assert not phases
