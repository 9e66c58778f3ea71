"""The published run, as its file describes it, as it is rendered, and as its toy scale keeps it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_fugaku.config import build_config, check_config, data_parallel_size, dump_config, load_config
from megatron_fugaku.config import padded_vocab_size as pad
from megatron_fugaku.config.load import parse_yaml
from megatron_fugaku.plan.memory import GIB, count_parameters, plan_memory

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples" / "fugaku_13b" / "fugaku_13b.yaml"
GOLDEN = ROOT / "tests" / "golden" / "fugaku_13b"


@pytest.fixture(scope="module")
def run():
    return load_config(CONFIG)


def test_published_figures(run):
    check_config(run, files=False)
    assert run.num_ranks == 13824 and data_parallel_size(run, run.num_ranks) == 288
    assert pad(run.model.vocab_size, run) == 49152
    assert run.model.resolved().kv_channels == 144
    assert run.num_steps == 92037 and run.tokens_per_step == 2016 * 2048
    assert 13.16e9 < count_parameters(run) < 13.17e9
    assert sum(run.data.blend.values()) == pytest.approx(100.0)


def test_each_rank_fits_its_node_because_the_first_stages_recompute_or_the_kernels_keep_no_scores(run):
    plan = plan_memory(run)
    assert plan.node_bytes < 12 * GIB
    assert [stage.recompute_bytes > 0 for stage in plan.stages] == [True] * 4 + [False] * 4
    content = run.model_dump(by_alias=True, exclude={"recompute"})
    assert plan_memory(build_config(content)).node_bytes < 17 * GIB
    reference = {"kernels": "reference"}
    assert plan_memory(build_config({**run.model_dump(by_alias=True), **reference})).node_bytes < 20 * GIB
    assert 24 * GIB < plan_memory(build_config({**content, **reference})).node_bytes < 32 * GIB


def test_golden_job_scripts():
    spec = importlib.util.spec_from_file_location("render_jobs", ROOT / "tests" / "golden" / "render_jobs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rendered = module.render_golden()
    assert set(rendered) == {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file()}
    for name, text in rendered.items():
        assert text == (GOLDEN / name).read_text(), f"{name} changed; see tests/golden/render_jobs.py"


def test_rendered_configuration_is_the_same_run(run, tmp_path):
    (tmp_path / "config.yaml").write_text((GOLDEN / "pjm" / "config.yaml").read_text())
    assert dump_config(load_config(tmp_path / "config.yaml")) == dump_config(run)


def test_the_toy_scale_changes_sizes_only(run):
    toy = load_config(CONFIG, ["scale=toy"])
    check_config(toy, files=False)
    assert toy.num_ranks == 4 and data_parallel_size(toy, 4) == 1
    assert (toy.parallel.tensor_model_parallel_size, toy.parallel.pipeline_model_parallel_size) == (2, 2)
    sizes = {
        "model": {"num_layers", "hidden_size", "num_attention_heads", "ffn_hidden_size", "seq_length",
                  "max_position_embeddings", "vocab_size"},
        "parallel": {"tensor_model_parallel_size", "pipeline_model_parallel_size"},
        "recompute": {"recompute_pipeline_stages"},
        "train": {"global_batch_size", "train_tokens", "train_iters", "eval_interval", "eval_iters"},
        "optimizer": {"lr_warmup_tokens", "lr_decay_tokens"},
        "data": {"manifest"},
        "checkpoint": {"save_interval"},
    }
    changes = parse_yaml(CONFIG.read_text(), "13b")["scales"]["toy"]
    assert {key: set(values) for key, values in changes.items() if key not in ("name", "launch")} == sizes
    # As there, the first half of the stages recomputes.
    assert toy.recompute.recompute_pipeline_stages == [0]
    assert run.recompute.recompute_granularity == toy.recompute.recompute_granularity == "full"


@pytest.mark.parametrize("overrides, sentence", [
    (["launch.node_memory_gib=8"], "needs 9.8 GiB per rank x 1 per node = 9.8 GiB, but a node has 8.0 GiB"),
    (["launch.topology=48x6x24"], "differs from launch.pjm.node 48x6x48"),
    (["launch.num_nodes=6912", "train.global_batch_size=1008"], "holds 13824 nodes but launch.num_nodes is 6912"),
    (["model.num_layers=42"], "num_layers 42 is not divisible by pipeline_model_parallel_size 8"),
])
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, overrides, sentence):
    done = subprocess.run([sys.executable, "-m", "megatron_fugaku", "launch", "pjm", str(CONFIG), "--output",
                           str(tmp_path / "job"), *overrides], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode in (2, 4) and sentence in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_slurm_example():
    path = ROOT / "examples" / "slurm_cluster" / "slurm_cluster.yaml"
    full, toy = load_config(path), load_config(path, ["scale=toy"])
    check_config(full, files=False)
    check_config(toy, files=False)
    assert 1.2e9 < count_parameters(full) < 1.6e9
    assert plan_memory(full).node_bytes < full.launch.node_memory_gib * GIB
    assert toy.num_ranks == 4
