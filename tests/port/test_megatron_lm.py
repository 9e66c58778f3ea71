"""An unmodified Megatron-LM: its ``pretrain_gpt.py`` trains on ranks as on one, on data of its own tool.

``MEGATRON_LM_HOME`` names the checkout, of a version that ``mfugaku patches check --against`` knows.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mpi_helpers import run_mpi
from upstream_scripts import RUN, checkout, run_alone, train, train_tokenizer, write_corpus

from megatron_fugaku.errors import ConfigError

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(600)]
SAME_WEIGHTS = Path(__file__).parent / "workers" / "same_weights.py"
NUM_ITERATIONS = 20
TP2, PP2 = ["--tensor-model-parallel-size", 2], ["--pipeline-model-parallel-size", 2]
INTERLEAVED = [*PP2, "--num-layers-per-virtual-pipeline-stage", 1]
#: float32 sums in another order, over 20 steps of Adam, printed with seven digits.
TOLERANCE = 2e-5


@pytest.fixture(scope="session")
def home() -> Path:
    return checkout("MEGATRON_LM_HOME", "transformers", "pybind11", "regex")


@pytest.fixture(scope="session")
def data(home, tmp_path_factory) -> dict[str, Path]:
    """Tokens that the checkout's own tool writes, on a CPU."""
    folder = tmp_path_factory.mktemp("megatron_lm")
    corpus = write_corpus(folder / "corpus.jsonl")
    model = train_tokenizer(corpus, folder / "tokenizer")
    run_alone(home / "tools" / "preprocess_data.py", "--input", corpus, "--output-prefix", folder / "tokens",
              "--tokenizer-type", "GPTSentencePieceTokenizer", "--tokenizer-model", model, "--append-eod",
              "--workers", 1, cwd=folder)
    assert (folder / "tokens_text_document.bin").stat().st_size > 100_000
    return {"tokens": folder / "tokens_text_document", "tokenizer": model, "folder": folder}


def arguments(data, **changes) -> list:
    """The words of a small GPT, without dropout."""
    settings = {
        "num-layers": 4, "hidden-size": 32, "num-attention-heads": 4, "seq-length": 32, "max-position-embeddings": 32,
        "micro-batch-size": 2, "global-batch-size": 8, "train-iters": NUM_ITERATIONS, "lr": 1e-3, "min-lr": 1e-4,
        "lr-decay-style": "cosine", "weight-decay": 0.1, "clip-grad": 1.0, "attention-dropout": 0, "hidden-dropout": 0,
        "tokenizer-type": "GPTSentencePieceTokenizer", "tokenizer-model": data["tokenizer"],
        "data-path": data["tokens"], "data-cache-path": data["folder"] / "cache", "split": "90,5,5", "log-interval": 1,
        "eval-iters": 0, "eval-interval": 1000, "num-workers": 0, "make-vocab-size-divisible-by": 64,
        "transformer-impl": "local", **changes}
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


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
