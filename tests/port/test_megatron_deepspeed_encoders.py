"""BERT and T5 by an unmodified Megatron-DeepSpeed: the same losses on ranks as on one, on sentences of its own tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from megatron_deepspeed_runs import assert_alike, deepspeed_words, find_home, small_words
from upstream_scripts import NUM_ITERATIONS, PP2, SAME_WEIGHTS, TP2, VOCABULARY, run_alone, train, write_corpus

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def home() -> Path:
    return find_home()


def write_vocabulary(texts: list[str], folder: Path) -> Path:
    """Train WordPiece on the texts; return its file. Upstream adds two tokens: 512 are padded alike on every layout."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(texts, vocab_size=VOCABULARY - 2, limit_alphabet=200, show_progress=False)
    [path] = tokenizer.save_model(str(folder))
    return Path(path)


def write_punkt(texts: list[str], folder: Path) -> None:
    """Train NLTK's sentence splitter on the texts, and put it where NLTK looks for the English one that its users
    download."""
    from nltk.tabdata import TabEncoder
    from nltk.tokenize.punkt import PunktTrainer

    parameters, encoder = PunktTrainer("\n".join(texts)).get_params(), TabEncoder()
    target = folder / "tokenizers" / "punkt_tab" / "english"
    target.mkdir(parents=True)
    for name, text in {"collocations.tab": encoder.tups2tab(parameters.collocations),
                       "sent_starters.txt": encoder.set2txt(parameters.sent_starters),
                       "abbrev_types.txt": encoder.set2txt(parameters.abbrev_types),
                       "ortho_context.tab": encoder.ivdict2tab(parameters.ortho_context)}.items():
        (target / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def sentences(home, tmp_path_factory) -> dict[str, Path]:
    """Tokens of sentences that the checkout's own tool splits and writes, and their vocabulary."""
    folder = tmp_path_factory.mktemp("sentences")
    corpus = write_corpus(folder / "corpus.jsonl")
    texts = [json.loads(line)["text"] for line in corpus.read_text(encoding="utf-8").splitlines()]
    vocabulary = write_vocabulary(texts, folder)
    write_punkt(texts, folder / "nltk")
    for _ in range(2):  # with one partition upstream's tool ends once it has split; the next run finds the sentences
        run_alone(home / "tools" / "preprocess_data.py", "--input", corpus, "--output-prefix", folder / "tokens",
                  "--tokenizer-type", "BertWordPieceLowerCase", "--vocab-file", vocabulary, "--split-sentences",
                  "--workers", 1, cwd=folder, env={"NLTK_DATA": str(folder / "nltk")})
    first = json.loads((folder / "corpus_ss.jsonl").read_text(encoding="utf-8").splitlines()[0])["text"]
    assert isinstance(first, list) and len(first) > 20
    return {"tokens": folder / "tokens_text_sentence", "vocabulary": vocabulary, "folder": folder}


def words_of(script: str, data: dict[str, Path]) -> list[object]:
    """The words of a small model of that script."""
    # No documents to validate on: upstream builds their data set for no samples, which raises, where eval-iters is 0.
    settings = {"tokenizer_type": "BertWordPieceLowerCase", "vocab_file": data["vocabulary"],
                "data_path": data["tokens"], "split": "100,0,0"}
    if script == "pretrain_t5.py":
        settings |= {"num_layers": None, "seq_length": None, "encoder_num_layers": 2, "decoder_num_layers": 2,
                     "encoder_seq_length": 32, "decoder_seq_length": 16, "vocab_extra_ids": 128}
    return small_words(**settings)


@pytest.fixture(scope="module")
def one_rank(home, sentences):
    """Losses of one rank, by script; each trained once."""
    known: dict[str, list[float]] = {}

    def losses(script: str) -> list[float]:
        if script not in known:
            known[script] = train(SAME_WEIGHTS, [home / script, *words_of(script, sentences)], 1,
                                  sentences["folder"] / script)
            assert len(known[script]) == NUM_ITERATIONS
            assert sum(known[script][-5:]) < sum(known[script][:5]) - 0.5, known[script]
        return known[script]

    return losses


@pytest.mark.parametrize(("script", "words"), [
    ("pretrain_bert.py", []), ("pretrain_t5.py", ["--pipeline-model-parallel-split-rank", 1])], ids=["bert", "t5"])
def test_without_deepspeed(home, sentences, one_rank, tmp_path, script, words):
    losses = train(SAME_WEIGHTS, [home / script, *words_of(script, sentences), *TP2, *PP2, *words], 8, tmp_path)
    assert_alike(losses, one_rank(script))


@pytest.mark.parametrize(("script", "stage"), [("pretrain_bert.py", 1), ("pretrain_t5.py", 2)],
                         ids=["bert-zero1", "t5-zero2"])
def test_with_deepspeed(home, sentences, one_rank, tmp_path, script, stage):
    losses = train(SAME_WEIGHTS, [home / script, *words_of(script, sentences), *TP2,
                                  *deepspeed_words(tmp_path, stage, has_pipeline=False)], 4, tmp_path)
    assert_alike(losses, one_rank(script))
