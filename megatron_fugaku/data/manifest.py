"""The manifest: what a data folder holds, where it came from, and the blend that training draws from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from megatron_fugaku.data.stage import MANIFEST, FileRecord, hash_file
from megatron_fugaku.errors import DataError

Split = Literal["train", "valid"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenizerFacts(_Model):
    """The tokenizer; ``path`` is relative to the manifest."""

    path: str
    sha256: str
    vocab_size: int
    unk: int
    bos: int
    eos: int
    pad: int


class Counts(_Model):
    """Documents and tokens, with their end-of-document tokens; ``share`` is of all tokens of both splits."""

    documents: int
    tokens: int
    train_documents: int
    train_tokens: int
    valid_documents: int
    valid_tokens: int
    share: float


class LanguageFacts(Counts):
    """One language; ``weight`` is its part of the training blend, of 1."""

    weight: float


class SourceFacts(Counts):
    """One source; ``dropped`` counts documents by reason, ``provenance`` holds package or version → digest."""

    kind: str
    language: str
    licence: str
    read: int
    bytes: int
    dropped: dict[str, int]
    provenance: dict[str, str]


class Manifest(_Model):
    """Contents of ``manifest.json``. Paths are relative to its folder.

    Attributes:
        blend: split → ``[weight, prefix, weight, prefix, …]``, as Megatron's ``data_path`` takes it, with relative
            prefixes; :meth:`data_path` gives them absolute.
        missing: source → why it was not to be had.
        dtype: of the token files: ``uint16`` or ``int32``.
    """

    format: Literal[1] = 1
    recipe: str
    recipe_sha256: str
    versions: dict[str, str]
    tokenizer: TokenizerFacts
    dtype: str
    languages: dict[str, LanguageFacts]
    sources: dict[str, SourceFacts]
    missing: dict[str, str]
    blend: dict[Split, list[float | str]]
    files: dict[str, FileRecord]
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The folder that the manifest was loaded from."""
        return self._folder

    @property
    def tokenizer_path(self) -> Path:
        """Absolute path of the SentencePiece model."""
        return self._folder / self.tokenizer.path

    def data_path(self, split: Split) -> list[float | str]:
        """``[weight, prefix, …]`` with absolute prefixes: Megatron's ``data_path``."""
        return [str(self._folder / part) if isinstance(part, str) else part for part in self.blend[split]]

    def prefixes_and_weights(self, split: Split) -> tuple[list[str], list[float]]:
        """(absolute prefixes, weights): an element of ``blend_per_split`` of megatron-core's dataset config."""
        parts = self.data_path(split)
        return [str(part) for part in parts[1::2]], [float(part) for part in parts[0::2]]


def _path_of(path: Path | str) -> Path:
    path = Path(path).absolute()
    return path / MANIFEST if path.is_dir() else path


def load_manifest(path: Path | str) -> Manifest:
    """Load a manifest, given its path or its folder.

    Raises:
        DataError: it is missing or is not a manifest of this format.
    """
    path = _path_of(path)
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot read the manifest {path}: {error.strerror}",
            "it names the tokenizer and the token files",
            "run 'mfugaku data RECIPE --output DIR', or correct the path",
            str(path),
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"{path} is not a manifest of format 1: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            "it was written by another version or changed by hand",
            "run 'mfugaku data RECIPE --output DIR' again",
            str(path),
        ) from error
    manifest._folder = path.parent
    return manifest


def verify_manifest(path: Path | str) -> Manifest:
    """Load a manifest and check size and SHA-256 of every file it names.

    Raises:
        DataError: naming the first file that is missing or changed.
    """
    manifest = load_manifest(path)
    for name, written in manifest.files.items():
        file = manifest.folder / name
        fix = "run 'mfugaku data RECIPE --output DIR' again; only what changed is made anew"
        if not file.is_file():
            raise DataError(f"{file} is missing", "the manifest names it", fix, str(file))
        found = hash_file(file)
        if found != written:
            what = (
                f"has {found.bytes:,} bytes instead of {written.bytes:,}"
                if found.bytes != written.bytes
                else f"has SHA-256 {found.sha256[:16]}… instead of {written.sha256[:16]}…"
            )
            raise DataError(f"{file} {what}", "it is not what was written", fix, str(file))
    return manifest
