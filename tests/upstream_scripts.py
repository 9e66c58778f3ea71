"""Trains with the scripts of a checkout, and reads the losses that they print; for tests that have such a checkout."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from mpi_helpers import mpi_environment, run_mpi

RUN = ["-m", "megatron_fugaku", "run"]
VOCABULARY = 512
NUM_ITERATIONS = 20
SAME_WEIGHTS = Path(__file__).parent / "port" / "workers" / "same_weights.py"
TP2, PP2 = ["--tensor-model-parallel-size", 2], ["--pipeline-model-parallel-size", 2]
#: Options of a small GPT, without dropout, that all of Megatron's scripts know.
SMALL_GPT = {
    "num-layers": 4, "hidden-size": 32, "num-attention-heads": 4, "seq-length": 32, "max-position-embeddings": 32,
    "micro-batch-size": 2, "global-batch-size": 8, "train-iters": NUM_ITERATIONS, "lr": 1e-3, "min-lr": 1e-4,
    "lr-decay-style": "cosine", "weight-decay": 0.1, "clip-grad": 1.0, "attention-dropout": 0, "hidden-dropout": 0,
    "split": "90,5,5", "log-interval": 1, "eval-iters": 0, "eval-interval": 1000, "num-workers": 0,
    "make-vocab-size-divisible-by": 64,
}
#: float32 sums in another order, over 20 steps of Adam, printed with seven digits.
TOLERANCE = 2e-5
_LOSS = re.compile(r"^ ?(?:\[[^\]]*\])? ?iteration +(\d+)/.*?lm loss: ([0-9.E+-]+)", re.MULTILINE)


def checkout(variable: str, *packages: str) -> Path:
    """Return the checkout that an environment variable names; without it, or without a package that the checkout
    imports, the test is skipped and says why."""
    home = os.environ.get(variable)
    if not home:
        pytest.skip(f"{variable} does not name a checkout")
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"the checkout of {variable} imports {', '.join(missing)}: pip install {' '.join(missing)}")
    return Path(home)


def write_corpus(path: Path) -> Path:
    """Write documents as lines of JSON: sources of this Python."""
    import sysconfig

    library = Path(sysconfig.get_path("stdlib"))
    files = [*sorted((library / "json").glob("*.py")), *sorted((library / "email").glob("*.py")),
             *(library / name for name in ("argparse.py", "textwrap.py", "heapq.py", "cmd.py"))]
    with open(path, "w", encoding="utf-8") as out:
        for file in files:
            out.write(json.dumps({"text": file.read_text(encoding="utf-8")}) + "\n")
    return path


def train_tokenizer(corpus: Path, prefix: Path) -> Path:
    """Train a small SentencePiece model on the corpus; return its file."""
    import sentencepiece

    texts = [json.loads(line)["text"] for line in corpus.read_text(encoding="utf-8").splitlines()]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=str(prefix),
                                             vocab_size=VOCABULARY, model_type="unigram", num_threads=1,
                                             minloglevel=2)
    return prefix.with_suffix(".model")


def write_tokens(home: Path, folder: Path) -> dict[str, Path]:
    """Let the checkout's own tool write the corpus' tokens, on a CPU; return where they, the tokenizer and both are."""
    corpus = write_corpus(folder / "corpus.jsonl")
    model = train_tokenizer(corpus, folder / "tokenizer")
    run_alone(home / "tools" / "preprocess_data.py", "--input", corpus, "--output-prefix", folder / "tokens",
              "--tokenizer-type", "GPTSentencePieceTokenizer", "--tokenizer-model", model, "--append-eod",
              "--workers", 1, cwd=folder)
    assert (folder / "tokens_text_document.bin").stat().st_size > 100_000
    return {"tokens": folder / "tokens_text_document", "tokenizer": model, "folder": folder}


def as_words(settings: dict[str, object]) -> list[object]:
    """{"lr": 1e-3} -> ["--lr", 1e-3]."""
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def run_alone(script: Path, *words: object, cwd: Path,
              env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script of the checkout in one process, without mpirun; fail with what it printed."""
    done = subprocess.run([sys.executable, *RUN, str(script), *map(str, words)], capture_output=True, text=True,
                          timeout=300, cwd=cwd, env=mpi_environment(env))
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def find_losses(output: str) -> dict[int, float]:
    """Return the losses that Megatron's log lines have; it prints none for an iteration that it skips."""
    return {int(iteration): float(loss) for iteration, loss in _LOSS.findall(output)}


def read_losses(output: str) -> list[float]:
    """Return the losses of iterations that follow one another."""
    found = find_losses(output)
    assert found, output[-3000:]
    assert sorted(found) == list(range(min(found), max(found) + 1)), sorted(found)
    return [found[iteration] for iteration in sorted(found)]


def train(script: Path, words: Sequence[object], num_ranks: int, cwd: Path, timeout_s: float = 240) -> list[float]:
    """Train on ranks, and return the losses."""
    return read_losses(train_output(script, words, num_ranks, cwd, timeout_s))


def train_output(script: Path, words: Sequence[object], num_ranks: int, cwd: Path, timeout_s: float = 240) -> str:
    """Train on ranks, and return what they printed."""
    cwd.mkdir(parents=True, exist_ok=True)
    done = run_mpi([*RUN, script, *map(str, words)], num_ranks, timeout_s=timeout_s, cwd=cwd)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-5000:]}"
    return done.stdout
