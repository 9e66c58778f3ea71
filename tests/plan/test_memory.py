import json
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_fugaku.config import build_config, dump_config
from megatron_fugaku.errors import ConfigError, PlanError
from megatron_fugaku.launch.local import plan_local
from megatron_fugaku.plan.memory import GIB, check_memory, count_layer_parameters, count_parameters, plan_memory


def config(**sections):
    content = {
        "name": "memory",
        "model": {"num_layers": 4, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 32, "vocab_size": 500},
        "train": {"global_batch_size": 16, "train_iters": 2},
        "optimizer": {"lr": 1e-3},
    }
    for name, values in sections.items():
        content[name] = {**content.get(name, {}), **values}
    return build_config(content)


def test_a_gpt_layer_counted_by_hand():
    h = 64
    assert count_layer_parameters(config()) == 12 * h * h + 13 * h
    # Column-parallel biases are cut; both norms and both row-parallel biases are whole on every rank.
    assert count_layer_parameters(config(), tp=2) == (12 * h * h + 7 * h) // 2 + 6 * h


def test_a_llama_layer_counted_by_hand():
    run = config(model={"style": "llama", "num_query_groups": 2, "ffn_hidden_size": 96})
    assert count_layer_parameters(run) == 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 96 + 2 * 64
    assert count_parameters(run) == 4 * count_layer_parameters(run) + 2 * 500 * 64 + 64


def test_stages_hold_the_whole_model_and_the_tied_copy():
    run = config(parallel={"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2},
                 launch={"ranks_per_node": 4})
    stages = plan_memory(run).stages
    vocab, h, replicated = 512, 64, 6 * 64
    # Over both tensor ranks: what is replicated counts once, and the last stage's copy of the embedding not at all.
    whole = 2 * sum(stage.num_parameters for stage in stages) - vocab * h - 4 * replicated - 32 * h - 2 * h
    assert whole == count_parameters(run, padded=True)
    assert stages[0].weights_bytes == 4 * stages[0].num_parameters == stages[0].gradients_bytes
    assert stages[0].optimizer_bytes == 8 * stages[0].num_parameters


def test_precision_and_distributed_optimizer():
    plain = plan_memory(config(train={"precision": "bf16"}), world_size=4).stages[0]
    shared = plan_memory(config(train={"precision": "bf16"}, parallel={"use_distributed_optimizer": True}),
                         world_size=4).stages[0]
    assert plain.weights_bytes == 2 * plain.num_parameters
    assert plain.optimizer_bytes == 12 * plain.num_parameters
    assert shared.optimizer_bytes == plain.optimizer_bytes // 4


def test_activations_of_a_layer_agree_with_the_paper():
    # arXiv:2205.05198, equation 1: s b h (34 + 5 a s / h) bytes in 16 bits with one-byte masks. Ours are two bytes:
    # two more bytes per s b h for two hidden masks, one more per a s s b for the attention mask.
    train = {"precision": "bf16", "global_batch_size": 1}
    s, h, a = 32, 64, 4
    run = config(train=train, kernels={"attention": "reference", "dropout": "reference"})
    assert plan_memory(run).stages[0].activations_bytes == 4 * (s * h * (34 + 2) + 6 * a * s * s)
    # The kernels keep neither scores nor masks, of which the paper's 34 counts two bytes.
    assert plan_memory(config(train=train)).stages[0].activations_bytes == 4 * s * h * (34 - 2)


def test_pipeline_stages_hold_fewer_micro_batches_towards_the_end():
    run = config(parallel={"pipeline_model_parallel_size": 4}, launch={"ranks_per_node": 4})
    one, *_, last = (stage.activations_bytes for stage in plan_memory(run).stages)
    assert one == 4 * last


def test_recomputation_keeps_one_input_per_layer_on_the_stages_named():
    layout = {"parallel": {"pipeline_model_parallel_size": 4}, "launch": {"ranks_per_node": 4}}
    plain = plan_memory(config(**layout)).stages
    some = plan_memory(config(**layout, recompute={"recompute_granularity": "full",
                                                   "recompute_pipeline_stages": [0, 1]})).stages
    assert some[0].activations_bytes == 4 * 32 * 64 * 4
    assert some[0].recompute_bytes == plain[3].activations_bytes
    assert some[2].activations_bytes == plain[2].activations_bytes and some[2].recompute_bytes == 0
    block = plan_memory(config(recompute={"recompute_granularity": "full", "recompute_method": "block",
                                          "recompute_num_layers": 2})).stages[0]
    whole = plan_memory(config()).stages[0].activations_bytes
    assert whole // 2 < block.activations_bytes < whole
    reference = {"kernels": {"attention": "reference"}}
    scores = plan_memory(config(**reference)).stages[0].activations_bytes - whole
    assert scores == 4 * 3 * 4 * 4 * 32 * 32
    selective = config(recompute={"recompute_granularity": "selective"}, **reference)
    assert plan_memory(selective).stages[0].activations_bytes == whole


def test_interleaving_holds_more():
    layout = {"parallel": {"pipeline_model_parallel_size": 2}, "launch": {"ranks_per_node": 2}}
    plain = plan_memory(config(**layout)).stages[0]
    layout["parallel"] = {**layout["parallel"], "virtual_pipeline_model_parallel_size": 2}
    assert plan_memory(config(**layout)).stages[0].activations_bytes == plain.activations_bytes // 4 * 5


def test_a_node_that_is_too_small_is_refused():
    run = config(launch={"ranks_per_node": 2})
    plan = plan_memory(run)
    check_memory(plan, plan.node_bytes)
    with pytest.raises(PlanError, match=r"pipeline stage 0 needs 1\.0 GiB per rank x 2 per node = 2\.\d GiB, but a "
                                        r"node has 1\.0 GiB.*\[launch\.node_memory_gib\]"):
        check_memory(plan, GIB)


def test_a_table_for_people():
    text = plan_memory(config()).explain()
    assert text.splitlines()[0].split() == ["stage", "parameters", "weights", "gradients", "optimizer", "activations",
                                            "recompute", "logits", "runtime", "total"]
    assert "not counted" in text


def test_an_unknown_vocabulary_is_refused():
    run = config(model={"vocab_size": None})
    with pytest.raises(ConfigError, match=r"model\.vocab_size is not given"):
        plan_memory(run)
    assert plan_memory(run, vocab_size=500).stages == plan_memory(config()).stages


@pytest.mark.mpi
@pytest.mark.slow
def test_the_models_that_megatron_core_builds_have_as_many_parameters(tmp_path):
    runs = [config(model=style, parallel={"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2},
                   launch={"ranks_per_node": 4})
            for style in ({}, {"style": "llama", "num_query_groups": 2})]
    files = [tmp_path / f"run{i}.yaml" for i in range(len(runs))]
    for file, run in zip(files, runs, strict=True):
        file.write_text(dump_config(run))
    program = Path(__file__).parent / "programs" / "count_parameters.py"
    launch = plan_local([sys.executable, str(program), *map(str, files)], 4)
    done = subprocess.run(["env", *(f"{name}={value}" for name, value in launch.variables.items()), *launch.argv],
                          capture_output=True, text=True, timeout=250, check=True)
    told = [json.loads(part) for part in done.stdout.replace("}", "}\n").splitlines() if part]
    assert sorted(entry["rank"] for entry in told) == [0, 1, 2, 3]
    stages = [plan_memory(run).stages for run in runs]
    for entry in told:
        assert entry["counts"] == [of_run[entry["stage"]].num_parameters for of_run in stages]
