"""Text survives the tokenizer exactly, whatever it holds."""

from __future__ import annotations

import pickle
import sysconfig
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from megatron_fugaku.data.codec import Codec
from megatron_fugaku.data.recipe import TokenizerRecipe
from megatron_fugaku.data.tokenizer_training import BOS, EOS, PAD, UNK, split_lines, train_tokenizer
from megatron_fugaku.errors import DataError

RECIPE = TokenizerRecipe(vocab_size=700, num_threads=1, user_defined_symbols=("<|user|>",))


def sample() -> list[str]:
    code = Path(sysconfig.get_path("stdlib"), "textwrap.py").read_text(encoding="utf-8")
    japanese = "2024年。ファイルを開くときは関数を使います。読み終えたら必ず閉じてください。\n引数を指定します。"
    return [*split_lines(code), *split_lines(japanese)] * 3


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Codec:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(train_tokenizer(sample(), RECIPE))
    return Codec(path)


@given(text=st.text())
@example(text=" leading and  double  spaces ")
@example(text="\n\n\tdef f():\r\n        return '▁ ▁▁'\n")
@example(text="\x00<s></s><unk><pad><0x41><|user|>\ufeff\u3000①ﾊﾝｶｸ é e\u0301 👩‍👩‍👧 \U0010ffff")
def test_round_trip(codec: Codec, text: str) -> None:
    ids = codec.encode(text)
    assert codec.decode(ids) == text
    assert not {UNK, BOS, EOS, PAD} & set(ids)
    assert all(0 <= token < codec.vocab_size for token in ids)


def test_pieces(codec: Codec) -> None:
    pieces = codec.pieces()
    assert (codec.unk, codec.bos, codec.eos, codec.pad) == (0, 1, 2, 3)
    assert len(pieces) == codec.vocab_size == 700
    assert pieces[4] == "<|user|>" and len(codec.encode("<|user|>")) == 1
    assert [pieces[token] for token in codec.encode("2024\n")] == ["2", "0", "2", "4", "<0x0A>"]
    assert any(len(piece) > 1 and set(piece) == {"▁"} for piece in pieces)  # indentation is short


def test_special_ids_have_no_text(codec: Codec) -> None:
    assert codec.decode([codec.bos, *codec.encode("a b"), codec.eos, codec.pad]) == "a b"
    with pytest.raises(DataError, match="outside the vocabulary"):
        codec.decode([codec.vocab_size])


def test_bad_models(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        Codec(tmp_path / "absent.model")
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(DataError, match="not a SentencePiece model"):
        Codec(tmp_path / "bad.model")


def test_megatron_tokenizer(codec: Codec) -> None:
    import numpy as np
    from megatron.core.tokenizers import MegatronTokenizerBase

    from megatron_fugaku.data.tokenizer import SentencePieceTokenizer

    template = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"
    tokenizer = SentencePieceTokenizer(codec.path, chat_template=template)
    assert isinstance(tokenizer, MegatronTokenizerBase)
    assert tokenizer.detokenize(np.array(tokenizer.tokenize("ab c"), np.uint16)) == "ab c"
    assert (tokenizer.vocab_size, tokenizer.eod, tokenizer.eos, tokenizer.bos) == (700, 2, 2, 1)
    assert (tokenizer.pad, tokenizer.unk) == (3, 0)
    assert tokenizer.inv_vocab[tokenizer.vocab["<|user|>"]] == "<|user|>"
    assert str(codec.path) not in tokenizer.unique_description
    assert pickle.loads(pickle.dumps(tokenizer)).unique_identifiers == tokenizer.unique_identifiers
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "a"}])
    assert tokenizer.detokenize(ids) == "<|user|>a"
    with pytest.raises(DataError, match="no chat template"):
        SentencePieceTokenizer(codec.path).apply_chat_template([])
