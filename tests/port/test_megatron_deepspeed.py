"""An unmodified Megatron-DeepSpeed: its scripts train on ranks as on one, on data of its own tools.

``MEGATRON_DEEPSPEED_HOME`` names the checkout; its requirements are ``pip install megatron-fugaku[scripts]``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from megatron_deepspeed_runs import assert_alike, deepspeed_words, find_home, gpt_words
from mpi_helpers import run_mpi
from upstream_scripts import (
    NUM_ITERATIONS,
    PP2,
    RUN,
    SAME_WEIGHTS,
    TOLERANCE,
    TP2,
    find_losses,
    read_losses,
    train,
    train_output,
    write_tokens,
)

from megatron_fugaku.errors import ConfigError, DataError

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(600)]
NONFINITE = Path(__file__).parent / "workers" / "nonfinite_gradient.py"
ROTARY = ["--use-rotary-position-embeddings", "--normalization", "rmsnorm"]


@pytest.fixture(scope="session")
def home() -> Path:
    return find_home()


@pytest.fixture(scope="session")
def data(home, tmp_path_factory) -> dict[str, Path]:
    """Tokens that the checkout's own tool writes, on a CPU."""
    return write_tokens(home, tmp_path_factory.mktemp("megatron_deepspeed"))


@pytest.fixture(scope="session")
def one_rank(home, data):
    """Losses of one rank, by the words that change the model; each trained once."""
    known: dict[tuple, list[float]] = {}

    def losses(*words) -> list[float]:
        key = tuple(map(str, words))
        if key not in known:
            known[key] = train(SAME_WEIGHTS, [home / "pretrain_gpt.py", *gpt_words(data), *words], 1,
                               data["folder"] / f"one{len(known)}")
            assert len(known[key]) == NUM_ITERATIONS
            assert known[key][-1] < known[key][0] - 0.3, known[key]
        return known[key]

    return losses


@pytest.mark.parametrize(("num_ranks", "words"), [
    (8, [*TP2, *PP2]),
    (4, [*TP2, "--use-distributed-optimizer"]),
    (4, [*PP2, "--checkpoint-activations", "--checkpoint-activations-stages", 1]),
], ids=["tp2-pp2-dp2", "tp2-dp2-distributed-optimizer", "pp2-dp2-checkpointing"])
def test_gpt_without_deepspeed(home, data, one_rank, tmp_path, num_ranks, words):
    losses = train(SAME_WEIGHTS, [home / "pretrain_gpt.py", *gpt_words(data), *words], num_ranks, tmp_path)
    assert_alike(losses, one_rank())


def test_rotary_embeddings_turn_queries_and_keys_alike(home, data, one_rank, tmp_path):
    script = [home / "pretrain_gpt.py", *gpt_words(data), *ROTARY]
    assert_alike(train(SAME_WEIGHTS, [*script, *TP2], 4, tmp_path), one_rank(*ROTARY))
    words = deepspeed_words(data["folder"], 1, has_pipeline=True)
    assert_alike(train(SAME_WEIGHTS, [*script, *PP2, *words], 4, tmp_path), one_rank(*ROTARY, *words))


@pytest.mark.parametrize(("num_ranks", "stage", "words", "has_pipeline"), [
    (8, 1, [*TP2, *PP2], True), (4, 0, [*TP2, *PP2], True), (4, 0, TP2, False), (4, 2, TP2, False), (4, 3, [], False)],
    ids=["zero1-tp2-pp2-dp2", "zero0-tp2-pp2", "zero0-tp2-dp2", "zero2-tp2-dp2", "zero3-dp4"])
def test_gpt_with_deepspeed(home, data, one_rank, tmp_path, num_ranks, stage, words, has_pipeline):
    losses = train(SAME_WEIGHTS, [home / "pretrain_gpt.py", *gpt_words(data), *words,
                                  *deepspeed_words(tmp_path, stage, has_pipeline)], num_ranks, tmp_path)
    # A pipeline of DeepSpeed's is another class of model, whose layers have other names and thus other weights.
    assert_alike(losses, one_rank(*deepspeed_words(data["folder"], 1, True)) if has_pipeline else one_rank())


@pytest.mark.parametrize("kind", ["plain", "deepspeed"])
def test_a_checkpoint_goes_on_as_if_nothing_had_been(home, data, tmp_path, kind):
    words = [*gpt_words(data), *TP2, *PP2, "--save", tmp_path / "saved", "--save-interval", 10,
             *(deepspeed_words(tmp_path, 1, has_pipeline=True) if kind == "deepspeed" else [])]
    script = home / "pretrain_gpt.py"
    whole = train(script, words, 4, tmp_path)
    (tmp_path / "saved" / "latest_checkpointed_iteration.txt").write_text("10")
    if kind == "deepspeed":
        (tmp_path / "saved" / "latest").write_text("global_step10")
    resumed = train(script, [*words, "--load", tmp_path / "saved"], 4, tmp_path)
    assert resumed == whole[10:]


def test_options_of_the_fork(home, data, tmp_path):
    script, words = home / "pretrain_gpt.py", [*gpt_words(data), *TP2]
    plain = train(script, words, 2, tmp_path / "plain")
    options = ["--use-flush-denormal", "--use-timer", "--use-cached-dataset", "--cpu-optimizer", "--cpu-torch-adam",
               "--override-lr-scheduler", "--no-load-lr-state", "--device-count", 0, "--skip-nonfinite-iterations",
               "--wandb-name", "unused", "--DDP-impl", "local"]
    same = train(script, [*words, *options], 2, tmp_path / "options")
    assert same == pytest.approx(plain, rel=TOLERANCE)
    for rank in range(2):
        lines = (tmp_path / "options" / "timers" / f"rank_{rank}.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if "forward-backward" in row]
        assert len(rows) == NUM_ITERATIONS and all(row["forward-backward"] > 0 for row in rows)


def test_iterations_are_left_out(home, data, tmp_path):
    output = train_output(home / "pretrain_gpt.py", [*gpt_words(data), "--skip-train-iteration-range", "3-4", "7"], 1,
                          tmp_path)
    assert [f"iteration {number} is left out" in output for number in (2, 3, 4, 5, 7)] == [False, True, True, False,
                                                                                         True]
    assert output.count("number of skipped iterations:   1") == 3


@pytest.mark.parametrize("words", [[], ["--use-distributed-optimizer"]], ids=["plain", "distributed-optimizer"])
def test_a_nonfinite_gradient_of_one_rank_is_left_out(home, data, tmp_path, words):
    words = [home / "pretrain_gpt.py", *gpt_words(data), *words]
    spoilt = [NONFINITE, 3, 1, *words]

    def losses(name, script, *more):
        return find_losses(train_output(script, more, 2, tmp_path / name))

    skipped = losses("skipped", *spoilt, "--skip-nonfinite-iterations")
    assert sorted(skipped) == [number for number in range(1, NUM_ITERATIONS + 1) if number != 3]
    assert skipped == losses("left_out", *words, "--skip-train-iteration-range", 3), "the weights stay, bit for bit"
    assert sorted(losses("spoilt", *spoilt)) == [1, 2, 3], "without the option no later loss is a number"


def test_what_needs_a_gpu_and_missing_indices_are_refused(home, data, tmp_path):
    words = gpt_words(data)
    done = run_mpi([*RUN, home / "pretrain_gpt.py", *words, "--use-flash-attn-v2"], 2, cwd=tmp_path)
    assert done.returncode == ConfigError.exit_code
    assert "--use-flash-attn-v2 was given. It needs flash-attn, which needs a GPU." in done.stderr
    assert done.stderr.count("was given") == 1
    done = run_mpi([*RUN, home / "pretrain_gpt.py", *words, "--use-cached-dataset", "--seed", 4321], 2, cwd=tmp_path)
    assert done.returncode == DataError.exit_code
    assert "--use-cached-dataset reads index files and builds none" in done.stderr


def test_losses_are_read_from_log_lines():
    line = " iteration        {}/      20 | consumed samples: 8 | lm loss: {} | loss scale: 1.0 |"
    assert read_losses("\n".join([line.format(1, "6.25E+00"), "noise", line.format(2, "6.0E+00")])) == [6.25, 6.0]
