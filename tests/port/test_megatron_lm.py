"""An unmodified Megatron-LM: its ``pretrain_gpt.py`` trains on ranks as on one, on data of its own tool.

``MEGATRON_LM_HOME`` names the checkout, of a version that ``mfugaku patches check --against`` knows.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from upstream_scripts import (
    NUM_ITERATIONS,
    PP2,
    RUN,
    SAME_WEIGHTS,
    SMALL_GPT,
    TOLERANCE,
    TP2,
    as_words,
    checkout,
    train,
    write_tokens,
)

from megatron_fugaku.errors import ConfigError

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(600)]
INTERLEAVED = [*PP2, "--num-layers-per-virtual-pipeline-stage", 1]


@pytest.fixture(scope="session")
def home() -> Path:
    return checkout("MEGATRON_LM_HOME", "transformers", "pybind11", "regex", "six")


@pytest.fixture(scope="session")
def data(home, tmp_path_factory) -> dict[str, Path]:
    """Tokens that the checkout's own tool writes, on a CPU."""
    return write_tokens(home, tmp_path_factory.mktemp("megatron_lm"))


def arguments(data, **changes) -> list:
    """The words of a small GPT, without dropout."""
    return as_words({
        **SMALL_GPT, "tokenizer-type": "GPTSentencePieceTokenizer", "tokenizer-model": data["tokenizer"],
        "data-path": data["tokens"], "data-cache-path": data["folder"] / "cache", "transformer-impl": "local",
        **changes})


@pytest.fixture(scope="session")
def one_rank(home, data) -> list[float]:
    losses = train(SAME_WEIGHTS, [home / "pretrain_gpt.py", *arguments(data)], 1, data["folder"] / "one")
    assert len(losses) == NUM_ITERATIONS
    assert losses[-1] < losses[0] - 0.2, losses
    return losses


@pytest.mark.parametrize(("num_ranks", "words"), [
    (8, [*TP2, *PP2, "--use-distributed-optimizer"]),
    (4, [*TP2, "--sequence-parallel"]),
    (4, [*INTERLEAVED, "--use-distributed-optimizer", "--overlap-grad-reduce", "--overlap-param-gather"]),
], ids=["tp2-pp2-dp2-distributed-optimizer", "tp2-sp-dp2", "pp2-interleaved-dp2-overlap"])
def test_gpt(home, data, one_rank, tmp_path, num_ranks, words):
    losses = train(SAME_WEIGHTS, [home / "pretrain_gpt.py", *arguments(data), *words], num_ranks, tmp_path)
    assert losses == pytest.approx(one_rank, rel=TOLERANCE, abs=0)


def test_a_checkpoint_goes_on_as_if_nothing_had_been(home, data, tmp_path):
    words = [*arguments(data), *TP2, *PP2, "--use-distributed-optimizer", "--save", tmp_path / "saved",
             "--save-interval", 10, "--ckpt-format", "torch_dist"]
    whole = train(home / "pretrain_gpt.py", words, 4, tmp_path)
    (tmp_path / "saved" / "latest_checkpointed_iteration.txt").write_text("10")
    resumed = train(home / "pretrain_gpt.py", [*words, "--load", tmp_path / "saved"], 4, tmp_path)
    # Upstream's second line after a start has the mean of the first two losses.
    assert (resumed[0], *resumed[2:]) == (whole[10], *whole[12:])


@pytest.mark.parametrize(("changes", "words", "says"), [
    ({"transformer-impl": "transformer_engine"}, [], "--transformer-impl is transformer_engine. It needs Transformer "
     "Engine, which needs a GPU. Add --transformer-impl local."),
    ({}, ["--fp8-format", "e4m3"], "it needs Transformer Engine"),
])
def test_what_needs_a_gpu_is_refused(home, data, tmp_path, changes, words, says):
    done = run_mpi([*RUN, home / "pretrain_gpt.py", *arguments(data, **changes), *words], 2, cwd=tmp_path)
    assert done.returncode == ConfigError.exit_code, done.stderr[-3000:]
    assert says.lower() in done.stderr.lower()
