"""Text ↔ token ids with a SentencePiece model, exactly: ``decode(encode(text)) == text`` for every Unicode text.

Light on purpose (sentencepiece only): worker processes import this and nothing of megatron-core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from megatron_fugaku.errors import DataError

SPACE_MARK = "▁"
"""SentencePiece writes a space as U+2581; one that stands in the text itself is encoded as its three bytes."""


class Codec:
    """A loaded SentencePiece model.

    Attributes:
        vocab_size: number of ids.
        unk, bos, eos, pad: special ids; -1 where the model has none.
        sha256: hex digest of the model file.

    Raises:
        DataError: the file is missing or is not a SentencePiece model.
    """

    def __init__(self, path: Path | str):
        import sentencepiece

        self.path = Path(path)
        try:
            data = self.path.read_bytes()
            self._model = sentencepiece.SentencePieceProcessor(model_proto=data)
        except OSError as error:
            raise DataError(
                f"cannot read the tokenizer {self.path}: {error.strerror}",
                "text cannot be turned into tokens without it",
                "run 'mfugaku data RECIPE tokenizer', or correct the path",
                str(self.path),
            ) from error
        except RuntimeError as error:
            raise DataError(
                f"{self.path} is not a SentencePiece model", "", "give the path of a tokenizer.model", str(self.path)
            ) from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.vocab_size: int = self._model.get_piece_size()
        self.unk: int = self._model.unk_id()
        self.bos: int = self._model.bos_id()
        self.eos: int = self._model.eos_id()
        self.pad: int = self._model.pad_id()
        mark_bytes = [self._model.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode("utf-8")]
        self._mark_ids = None if self.unk in mark_bytes else mark_bytes

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, without bos or eos."""
        if self._mark_ids is None or SPACE_MARK not in text:
            return self._model.encode(text)
        first, *others = text.split(SPACE_MARK)
        ids = self._model.encode(first)
        for part in others:
            ids += self._mark_ids
            ids += self._model.encode(part)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ``ids``; bos, eos and pad give nothing, bytes that are not UTF-8 give U+FFFD.

        Raises:
            DataError: an id is outside the vocabulary.
        """
        ids = [int(token) for token in ids]
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise DataError(
                    f"token id {token} is outside the vocabulary of {self.vocab_size}",
                    "it has no text",
                    "decode with the tokenizer that the tokens were made with",
                    str(self.path),
                )
        return self._model.decode(ids)

    def pieces(self) -> list[str]:
        """All pieces, by id."""
        return [self._model.id_to_piece(token) for token in range(self.vocab_size)]
