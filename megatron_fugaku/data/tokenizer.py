"""The tokenizer as megatron-core and the rest of this package want it, and its training."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

try:
    from megatron.core.tokenizers import MegatronTokenizerBase
except ImportError:  # megatron-core 0.14
    from megatron.core.datasets.megatron_tokenizer import MegatronTokenizer as MegatronTokenizerBase

from megatron_fugaku.data.codec import Codec
from megatron_fugaku.data.tokenizer_training import train_tokenizer
from megatron_fugaku.errors import DataError

__all__ = ["SentencePieceTokenizer", "train_tokenizer"]


class SentencePieceTokenizer(MegatronTokenizerBase):
    """A SentencePiece model behind megatron-core's tokenizer interface.

    ``eod``, the id that ends every document, is ``eos``. ``unique_identifiers`` (part of the names of megatron-core's
    cached dataset indices) holds the digest of the model, not its path: a moved run folder keeps its cache.

    Raises:
        DataError: the file is missing or is not a SentencePiece model.
    """

    def __init__(self, path: Path | str, chat_template: str | None = None):
        super().__init__(str(path), {"library": "sentencepiece", "chat_template": chat_template})
        self.path, self.chat_template = str(path), chat_template
        self._codec = Codec(path)
        self.unique_identifiers = OrderedDict(
            [("class", type(self).__name__), ("sha256", self._codec.sha256), ("vocab_size", self._codec.vocab_size)]
        )
        self.unique_description = json.dumps(self.unique_identifiers, indent=4)

    def __reduce__(self):
        return type(self), (self.path, self.chat_template)

    def tokenize(self, text: str) -> list[int]:
        """Ids of ``text``, without bos or eos."""
        return self._codec.encode(text)

    def detokenize(self, ids: Iterable[int]) -> str:
        """Text of ``ids`` (list, array or tensor)."""
        return self._codec.decode(ids)

    def apply_chat_template(self, conversation: list[dict[str, str]], add_generation_prompt: bool = False) -> list[int]:
        """Ids of a conversation of ``{"role", "content"}`` records, laid out by the Jinja ``chat_template``.

        Raises:
            DataError: the tokenizer was made without a chat template.
        """
        if not self.chat_template:
            raise DataError(
                "the tokenizer has no chat template",
                "a conversation cannot be laid out without one",
                "make it as SentencePieceTokenizer(path, chat_template=...)",
                self.path,
            )
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(self.chat_template)
        return self.tokenize(template.render(messages=conversation, add_generation_prompt=add_generation_prompt))

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self._codec.vocab_size

    @cached_property
    def inv_vocab(self) -> dict[int, str]:
        """Id → piece."""
        return dict(enumerate(self._codec.pieces()))

    @cached_property
    def vocab(self) -> dict[str, int]:
        """Piece → id."""
        return {piece: token for token, piece in self.inv_vocab.items()}

    @property
    def eod(self) -> int:
        """Id that ends a document; the same as ``eos``."""
        return self._codec.eos

    @property
    def eos(self) -> int:
        """Id of the end of a text."""
        return self._codec.eos

    @property
    def bos(self) -> int:
        """Id of the beginning of a text."""
        return self._codec.bos

    @property
    def pad(self) -> int:
        """Id that fills a sequence up."""
        return self._codec.pad

    @property
    def unk(self) -> int:
        """Id of what has no piece; never made with byte fallback."""
        return self._codec.unk
