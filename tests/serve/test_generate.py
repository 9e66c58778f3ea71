"""Sampling, and that generation with the cache and over ranks says what the model says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpi_helpers import run_mpi
from small_run import small_config, write_config

from megatron_fugaku.errors import CheckpointError, ConfigError
from megatron_fugaku.serve.generate import Generator, SamplingOptions, sample_token

WORKER = Path(__file__).parent / "workers" / "cached_and_whole.py"

logits_lists = st.lists(st.floats(-50, 50, width=32) | st.just(-math.inf), min_size=1, max_size=40).filter(
    lambda values: max(values) > -math.inf)


def sample(values: list[float], seed: int = 0, **options) -> int:
    return sample_token(torch.tensor(values), SamplingOptions(**options), torch.Generator().manual_seed(seed))


@given(logits_lists)
def test_temperature_zero_takes_the_most_probable(values):
    assert values[sample(values, temperature=0)] == max(values)


@given(logits_lists, st.integers(0, 2**32), st.floats(1e-40, 10.0), st.integers(0, 45), st.floats(1e-3, 1.0))
def test_only_permitted_tokens_are_chosen(values, seed, temperature, top_k, top_p):
    token = sample(values, seed, temperature=temperature, top_k=top_k, top_p=top_p)
    logits = torch.tensor(values, dtype=torch.float64)
    probabilities = ((logits - logits.max()) / temperature).softmax(-1)
    more_probable = probabilities > probabilities[token] * (1 + 1e-4)
    assert values[token] > -math.inf
    if top_k:
        assert int((logits > logits[token]).sum()) < top_k
    # The tokens before it in the order of probability did not reach top_p.
    assert float(probabilities[more_probable].sum()) < top_p + 1e-4


def test_frequencies_are_the_probabilities():
    values, generator = [0.0, math.log(2.0), math.log(5.0), -math.inf], torch.Generator().manual_seed(0)
    logits, options = torch.tensor(values), SamplingOptions(temperature=1.0, top_p=1.0)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[sample_token(logits, options, generator)] += 1
    assert counts[3] == 0
    assert torch.allclose(counts / 4000, torch.tensor([0.125, 0.25, 0.625, 0.0]), atol=0.03)


def test_top_k_and_top_p_by_hand():
    values = [math.log(p) for p in (0.5, 0.3, 0.15, 0.05)]

    def support(**options):
        return {sample(values, seed, temperature=1.0, **options) for seed in range(200)}

    assert support(top_k=1, top_p=1.0) == {0}
    assert support(top_k=2, top_p=1.0) == {0, 1}
    assert support(top_p=0.5) == {0}
    assert support(top_p=0.75) == {0, 1}
    assert support(top_p=0.81) == {0, 1, 2}
    assert support(top_k=2, top_p=0.99) == {0, 1}


@pytest.mark.parametrize(("name", "value"), [
    ("max_new_tokens", 0), ("temperature", -0.1), ("temperature", math.nan), ("top_k", -1), ("top_p", 0.0),
    ("top_p", 1.1), ("top_p", math.nan),
])
def test_impossible_options_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"{name} is .*\[{name}\]"):
        SamplingOptions(**{name: value})


class Letters:
    """A tokenizer of letters; ``$`` ends a document."""

    vocab = "$abcdefgh"
    vocab_size, eod = len(vocab), 0

    def tokenize(self, text):
        return [self.vocab.index(letter) for letter in text]

    def detokenize(self, tokens):
        return "".join(self.vocab[token] for token in tokens)


class Alphabet:
    """A model that goes through the alphabet and ends the document after ``h``; it checks what it is given."""

    max_sequence_length = 12

    def __init__(self):
        self.seen: list[int] = []

    def eval(self):
        return self

    def __call__(self, ids, positions, mask, inference_context, runtime_gather_output):
        assert runtime_gather_output
        assert positions.tolist() == [list(range(len(self.seen), len(self.seen) + ids.shape[1]))]
        assert inference_context.sequence_len_offset == len(self.seen)
        self.seen += ids[0].tolist()
        logits = torch.zeros(1, ids.shape[1], Letters.vocab_size + 3)  # the padded vocabulary
        logits[:, :, Letters.vocab_size:] = 100.0
        logits[0, -1, (self.seen[-1] + 1) % Letters.vocab_size] = 10.0
        return logits


def continue_prompt(prompt: str, **options) -> tuple[str, Alphabet]:
    model = Alphabet()
    return Generator(model, Letters()).generate(prompt, SamplingOptions(temperature=0, **options)), model


def test_generation_ends_where_it_should():
    text, model = continue_prompt("ab")
    assert text == "cdefgh", "the end of the document ends it"
    assert model.seen[0] == Letters.eod, "a document follows the end of the one before"
    assert continue_prompt("ab", max_new_tokens=2)[0] == "cd"
    assert continue_prompt("")[0] == "abcdefgh"
    text, model = continue_prompt("hhhhhhaaa")
    assert text == "bc", "the model's positions end it"
    assert len(model.seen) <= Alphabet.max_sequence_length


def test_a_prompt_without_room_is_refused():
    assert continue_prompt("h" * 9 + "a")[0] == "b"
    with pytest.raises(ConfigError, match=r"the prompt has 12 tokens, the model 12 positions.*\[--prompt\]"):
        continue_prompt("h" * 11)


def test_the_prompt_is_cut_off_only_where_it_comes_back():
    generator = Generator(Alphabet(), Letters())
    generator.tokenizer = SimpleNamespace(eod=0, vocab_size=9, tokenize=lambda text: [1, 2],
                                          detokenize=lambda tokens: " " + Letters().detokenize(tokens))
    assert generator.generate("ab", SamplingOptions(temperature=0, max_new_tokens=2)) == " cd"


MODELS = {"gpt": {"num_query_groups": None, "make_vocab_size_divisible_by": 512},
          "llama": {"style": "llama", "num_query_groups": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def generated(folder, small_manifest) -> dict[str, dict]:
    paths = [write_config(folder / f"{name}.yaml", small_config(small_manifest, folder / name, model=model))
             for name, model in MODELS.items()]
    done = run_mpi([WORKER, *paths], 1)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.mpi
@pytest.mark.parametrize("name", MODELS)
def test_the_cache_changes_nothing(generated, name):
    model = generated[name]
    assert model["iteration"] == 20
    for compared in model["compared"]:
        assert compared["agree"]
        assert compared["difference"] < 1e-4
    assert model["greedy"] == model["greedy_again"]
    assert model["sampled"][0] == model["sampled"][1]
    assert all(model["greedy"])


@pytest.mark.mpi
@pytest.mark.parametrize("name", MODELS)
def test_two_ranks_say_what_one_says_and_samples_are_kept(generated, folder, name):
    """The gpt's vocabulary is padded to 512 on one rank and to 1024 on two."""
    prompts = ["import json\n", "def "]
    (folder / name / "samples.jsonl").write_text('{"old": 1}\n')
    done = run_mpi(["-m", "megatron_fugaku", "generate", folder / name, "--prompt", prompts[0], "--prompt", prompts[1],
                    "--temperature", "0", "--max-new-tokens", "12", "--save"], 2)
    assert done.returncode == 0, done.stderr[-4000:]
    texts = generated[name]["greedy"][:2]
    printed = [f"> {prompt}\n{text.strip()}\n\n" for prompt, text in zip(prompts, texts, strict=True)]
    assert done.stdout == "".join(printed)
    lines = [json.loads(line) for line in (folder / name / "samples.jsonl").read_text().splitlines()]
    assert lines == [{"old": 1}] + [{"iteration": 20, "prompt": prompt, "text": text}
                                    for prompt, text in zip(prompts, texts, strict=True)]


@pytest.mark.mpi
def test_a_run_without_checkpoint_is_one_error(small_manifest, tmp_path):
    write_config(tmp_path / "run" / "config.yaml", small_config(small_manifest, tmp_path / "run"))
    done = run_mpi(["-m", "megatron_fugaku", "generate", tmp_path / "run", "--prompt", "x"], 2, timeout_s=60)
    assert done.returncode == CheckpointError.exit_code, done.stderr
    assert done.stderr.count("holds no checkpoint") == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.mpi
def test_a_folder_that_is_no_run_is_one_error(tmp_path):
    done = run_mpi(["-m", "megatron_fugaku", "generate", tmp_path, "--prompt", "x"], 2, timeout_s=60)
    assert done.returncode == ConfigError.exit_code, done.stderr
    assert done.stderr.count("has no config.yaml") == 1, done.stderr
