"""Tools of an unmodified Megatron-DeepSpeed: text generation, and the converter of checkpoints to Megatron's format."""

from __future__ import annotations

from pathlib import Path

import pytest
from megatron_deepspeed_runs import assert_alike, deepspeed_words, find_home, gpt_words
from mpi_helpers import run_mpi
from upstream_scripts import PP2, RUN, TP2, run_alone, train, train_output, write_tokens

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(600)]
#: torch.load of 2.6 and later refuses the arguments in upstream's checkpoints; this is torch's own way to trust them.
TRUSTED = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}


@pytest.fixture(scope="module")
def home() -> Path:
    return find_home()


@pytest.fixture(scope="module")
def data(home, tmp_path_factory) -> dict[str, Path]:
    return write_tokens(home, tmp_path_factory.mktemp("tools"))


@pytest.mark.parametrize(("num_ranks", "words"), [(1, []), (4, [*TP2, *PP2])], ids=["one-rank", "tp2-pp2"])
def test_text_is_generated(home, data, tmp_path, num_ranks, words):
    """Keys and values that are kept give the text of those that are computed anew at every token."""
    words = [*gpt_words(data, train_iters=1, lr=1e-9, min_lr=0, init_method_std=0.6), *words]
    train_output(home / "pretrain_gpt.py", [*words, "--save", tmp_path / "saved", "--save-interval", 20], num_ranks,
                 tmp_path)
    prompts = tmp_path / "prompts"
    prompts.write_text("def write\nimport json\nfor item in\nupstream takes the last line for the end\n")

    def generate(name: str, *more: object) -> str:
        done = run_mpi([*RUN, home / "tools" / "generate_samples_gpt.py", *words, "--load", tmp_path / "saved", *more],
                       num_ranks, timeout_s=240, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-4000:]
        return (tmp_path / name).read_text(encoding="utf-8")

    texts = [generate(name, "--greedy", "--out-seq-length", 12, "--sample-input-file", prompts, "--sample-output-file",
                      tmp_path / name, *more)
             for name, more in (("kept", []), ("anew", ["--recompute"]))]
    assert texts[0] == texts[1]
    answers = [part.partition("Context:")[0].strip() for part in texts[0].split("Megatron-LM:")[1:]]
    assert len(answers) == len(set(answers)) == 3, "the weights are such that every prompt has a text of its own"
    assert len(generate("samples", "--num-samples", 2, "--out-seq-length", 12, "--genfile",
                        tmp_path / "samples").splitlines()) == 2


def test_a_checkpoint_of_deepspeed_becomes_one_of_megatron(home, data, tmp_path):
    """Training goes on from either alike, in the same pipeline and in none."""
    script, words = home / "pretrain_gpt.py", [*gpt_words(data), *TP2]
    pipeline = [*PP2, *deepspeed_words(tmp_path, 1, has_pipeline=True)]
    train(script, [*words, *pipeline, "--save", tmp_path / "saved", "--save-interval", 20], 4, tmp_path)
    go_on = ["--finetune", "--no-load-optim", "--no-load-rng", "--load"]
    expected = train(script, [*words, *pipeline, *go_on, tmp_path / "saved"], 4, tmp_path)
    for num_stages, stages in ((2, PP2), (1, [])):
        converted = tmp_path / f"converted{num_stages}"
        run_alone(home / "tools" / "convert_checkpoint" / "deepspeed_to_megatron.py", "--input_folder",
                  tmp_path / "saved" / "global_step20", "--output_folder", converted, "--target_tp", 2, "--target_pp",
                  num_stages, cwd=tmp_path, env=TRUSTED)
        assert_alike(train(script, [*words, *stages, *go_on, converted], 2 * num_stages, tmp_path), expected)


def test_a_checkpoint_of_deepspeed_is_inspected(home, data, tmp_path):
    train(home / "pretrain_gpt.py", [*gpt_words(data), *deepspeed_words(tmp_path, 1, has_pipeline=True),
                                     "--save", tmp_path / "saved", "--save-interval", 20], 1, tmp_path)
    folder = home / "tools" / "convert_checkpoint"
    saved = tmp_path / "saved" / "global_step20"
    printed = run_alone(folder / "inspect_deepspeed_checkpoint.py", "--folder", saved, cwd=tmp_path, env=TRUSTED).stdout
    assert "layer count = 6" in printed and "'mlp.dense_4h_to_h.weight': torch.Size([32, 128])" in printed
    printed = run_alone(folder / "inspect_checkpoint.py", saved / "layer_01-model_00-model_states.pt", cwd=tmp_path,
                        env=TRUSTED).stdout
    assert "[tensor] position_embeddings.weight = torch.Size([32, 32])" in printed
