"""Fine-tuning of a Llama by an unmodified Megatron-DeepSpeed, and its converter of Hugging Face's weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from megatron_deepspeed_runs import assert_alike, deepspeed_words, find_home, small_words
from mpi_helpers import run_mpi
from upstream_scripts import (
    NUM_ITERATIONS,
    PP2,
    RUN,
    SAME_WEIGHTS,
    TOLERANCE,
    TP2,
    VOCABULARY,
    train,
    write_corpus,
)

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(600)]
NUM_HEADS, LENGTH = 2, 192
SPECIAL = ["<unk>", "<s>", "</s>", "[PAD]"]


@pytest.fixture(scope="module")
def home() -> Path:
    return find_home()


def write_model(texts: list[str], folder: Path) -> None:
    """Write a Llama with random weights and a tokenizer trained on the texts, as Hugging Face keeps them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL,
                                                             show_progress=False))
    names = zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL, strict=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(names)).save_pretrained(folder)
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=4, rms_norm_eps=1e-5,
        num_attention_heads=NUM_HEADS, num_key_value_heads=NUM_HEADS, max_position_embeddings=LENGTH,
        tie_word_embeddings=False, initializer_range=0.1)).save_pretrained(folder)


@pytest.fixture(scope="module")
def llama(home, tmp_path_factory) -> dict[str, Path]:
    """A small model, and instructions with answers that fit into its length."""
    folder = tmp_path_factory.mktemp("llama")
    corpus = write_corpus(folder / "corpus.jsonl")
    texts = [json.loads(line)["text"] for line in corpus.read_text(encoding="utf-8").splitlines()]
    write_model(texts, folder / "model")
    lines = [line.strip() for text in texts for line in text.splitlines() if 20 < len(line.strip()) <= 40]
    instructions = [{"instruction": lines[first], "input": lines[first + 1] if first % 2 else "",
                     "output": lines[first + 2]} for first in range(0, 600, 3)]
    (folder / "instructions.json").write_text(json.dumps(instructions), encoding="utf-8")
    return {"model": folder / "model", "instructions": folder / "instructions.json", "folder": folder}


def words_of(llama: dict[str, Path]) -> list[object]:
    """The words of examples_deepspeed/finetune_hf_llama, for the small model; upstream's data set of instructions is
    read by DeepSpeed's pipeline alone."""
    return [*small_words(num_attention_heads=NUM_HEADS, ffn_hidden_size=64, seq_length=LENGTH,
                         max_position_embeddings=LENGTH, tokenizer_type="HFTokenizer", tokenizer_model=llama["model"],
                         data_path=llama["instructions"], split="100,0,0"),
            "--untie-embeddings-and-output-weights", "--swiglu", "--disable-bias-linear", "--finetune",
            "--no-query-key-layer-scaling", "--use-rotary-position-embeddings", "--normalization", "rmsnorm",
            "--repeated-dataloader", *deepspeed_words(llama["folder"], 0, has_pipeline=True)]


@pytest.fixture(scope="module")
def one_rank(home, llama) -> list[float]:
    losses = train(SAME_WEIGHTS, [home / "finetune_llama.py", *words_of(llama)], 1, llama["folder"])
    assert len(losses) == NUM_ITERATIONS and losses[-1] < losses[0] - 0.3, losses
    return losses


@pytest.mark.parametrize(("num_ranks", "words"), [(4, [*TP2]), (8, [*TP2, *PP2])], ids=["tp2-dp2", "tp2-pp2-dp2"])
def test_fine_tuning(home, llama, one_rank, tmp_path, num_ranks, words):
    losses = train(SAME_WEIGHTS, [home / "finetune_llama.py", *words_of(llama), *words], num_ranks, tmp_path)
    assert_alike(losses, one_rank)


def first_loss(home: Path, llama: dict[str, Path]) -> float:
    """The loss of the first batch by Hugging Face's own model, on the samples of upstream's data set."""
    from importlib.util import module_from_spec, spec_from_file_location

    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = spec_from_file_location("prompt_dataset", home / "megatron" / "data" / "prompt_dataset.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    tokenizer = AutoTokenizer.from_pretrained(llama["model"], padding_side="right", model_max_length=LENGTH)
    samples = module.SupervisedDataset(str(llama["instructions"]), type("HFTokenizer", (), {"tokenizer": tokenizer}))
    model, losses = AutoModelForCausalLM.from_pretrained(llama["model"]), []
    for first in range(0, 8, 2):
        tokens, labels = (torch.stack([samples[first][name], samples[first + 1][name]])
                          for name in ("input_ids", "labels"))
        with torch.no_grad():
            logits = model(tokens[:, :-1]).logits
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(),
                                                        ignore_index=tokenizer.pad_token_id))
    return torch.stack(losses).mean().item()


def test_hugging_face_s_weights_give_its_loss(home, llama, tmp_path):
    """With one head per tensor-parallel rank. Upstream's converter lays out query, key and value of one head after the
    other, its attention reads all queries, all keys, then all values: with more heads per rank they differ."""
    words = [*words_of(llama), *TP2, *PP2]
    done = run_mpi([*RUN, home / "tools" / "hf2megads_weight_converter.py", *words, "--hf-ckpt-dir", llama["model"],
                    "--hf-ckpt-num-shards", 1, "--load-mode", "safetensor", "--save", tmp_path, "--save-interval", 1],
                   4, timeout_s=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    losses = train(home / "finetune_llama.py", [*words, "--load", tmp_path], 4, tmp_path)
    assert losses[0] == pytest.approx(first_loss(home, llama), rel=TOLERANCE)
    assert losses[-1] < losses[0] - 0.1, losses
