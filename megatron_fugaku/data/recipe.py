"""The recipe: one YAML file that says what to read, how to split words and what to write.

Every model forbids unknown keys; :func:`load_recipe` turns pydantic's findings into one line per fault,
``file:key``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from megatron_fugaku.errors import DataError

Language = Literal["ja", "en", "code", "math"]
Reader = Literal["man", "html", "po", "text", "code", "jsonl"]


class Model(BaseModel):
    """Base of the recipe's models: unknown keys are refused, values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HtmlOptions(Model):
    """What of a page is text. XPath 1.0 expressions, evaluated on the parsed page."""

    content: str | None = Field(None, description="The element that holds the text; a page without it is dropped.")
    drop: tuple[str, ...] = Field((), description="Elements removed before reading, e.g. '//div[@class=\"toc\"]'.")


class SourceBase(Model):
    """What all sources state. ``include`` and ``exclude`` are shell patterns in which ``*`` also crosses ``/``."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    language: Language
    licence: str = Field(min_length=1, description="Short licence name(s), stored with every document.")
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    encoding: str = "utf-8"
    html: HtmlOptions = HtmlOptions()
    max_bytes: int | None = Field(None, gt=0, description="At most this much text (UTF-8 bytes) of this source.")
    drop_foreign_paragraphs: bool = Field(
        False, description="ja only: drop paragraphs that a translation left in English."
    )


class DebianSource(SourceBase):
    """Files of Debian packages, fetched with ``apt-get download`` and read without installing them."""

    kind: Literal["debian"]
    packages: tuple[str, ...] = Field(min_length=1)
    reader: Reader
    required: bool = False


class StdlibSource(SourceBase):
    """The source files of the Python standard library that runs this command."""

    kind: Literal["stdlib"]
    language: Language = "code"
    licence: str = "PSF-2.0"
    reader: Literal["code"] = "code"
    include: tuple[str, ...] = ("*.py",)
    required: bool = False


class PathSource(SourceBase):
    """Files below a folder of this machine, or one file. A relative path starts at the recipe's folder."""

    kind: Literal["path"]
    path: Path
    reader: Reader
    required: bool = True


Source = Annotated[DebianSource | StdlibSource | PathSource, Field(discriminator="kind")]


class LanguageBudget(Model):
    """How much of a language is kept and how often training draws from it."""

    max_bytes: int | None = Field(None, gt=0, description="At most this much text (UTF-8 bytes), over all sources.")
    weight: float | None = Field(
        None, gt=0, description="Share in the blend, relative to the others'; None: by number of tokens."
    )


class CorpusRecipe(Model):
    """The corpus stage."""

    sources: tuple[Source, ...] = Field(min_length=1)
    languages: dict[Language, LanguageBudget] = {}
    min_characters: int = Field(200, ge=1, description="Shorter documents are dropped.")
    seed: int = Field(1234, description="Chooses the documents kept when a budget binds.")

    @model_validator(mode="after")
    def _check_names(self) -> CorpusRecipe:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {twice[0]!r}")
        weights = [budget.weight is None for budget in self.languages.values()]
        if any(weights) and not all(weights):
            raise ValueError("give a weight to every language or to none")
        used = {source.language for source in self.sources}
        if not all(weights) and not used <= set(self.languages):
            raise ValueError(f"language {sorted(used - set(self.languages))[0]!r} has no weight, others have one")
        return self


class TokenizerRecipe(Model):
    """The tokenizer stage: SentencePiece unigram with byte fallback."""

    vocab_size: int = Field(gt=260, description="All pieces: 4 special ids, 256 bytes, user symbols, learned ones.")
    sample_bytes: int = Field(
        16_000_000, gt=0, description="Text to learn from; split over the languages by their weights."
    )
    normalization: Literal["identity", "nfkc"] = "identity"
    character_coverage: float = Field(0.9995, gt=0.9, le=1.0)
    split_digits: bool = True
    add_dummy_prefix: bool = Field(False, description="Put a space before the text; Japanese has no use for it.")
    max_piece_length: int = Field(16, ge=1, le=64)
    user_defined_symbols: tuple[str, ...] = ()
    seed: int = 1234
    num_threads: int = Field(4, ge=1, description="Fixed, because sums of floats depend on it.")


class TokensRecipe(Model):
    """The tokens stage: Megatron .bin/.idx files."""

    valid_share: float = Field(0.02, ge=0.0, lt=0.5, description="Share of documents held out for validation.")


class Recipe(Model):
    """A whole recipe."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    corpus: CorpusRecipe
    tokenizer: TokenizerRecipe
    tokens: TokensRecipe = TokensRecipe()

    def digest(self) -> str:
        """SHA-256 (hex) of the settings, whatever their order and wherever ``path`` sources lie."""
        shape = self.model_dump(mode="json", exclude={"corpus": {"sources": {"__all__": {"path"}}}})
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice; YAML itself lets the last one win in silence."""


def _construct_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def parse_recipe(settings: Any, origin: str, folder: Path) -> Recipe:
    """Check ``settings`` (a mapping); relative ``path`` sources are taken from ``folder``.

    Raises:
        DataError: naming the first bad key as ``origin:key``, with the number of further faults.
    """
    try:
        recipe = Recipe.model_validate(settings)
    except ValidationError as error:
        faults = error.errors()
        first = faults[0]
        key = ".".join(str(part) for part in first["loc"])
        more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
        given = "" if isinstance(first["input"], dict | list | tuple) else f": {first['input']!r}"
        raise DataError(
            f"{origin}: {key or 'recipe'}{given} - {first['msg']}{more}",
            "the recipe is refused as a whole, nothing was written",
            "correct the key; examples/quickstart/corpus.yaml shows every kind of source",
            f"{origin}:{key}",
        ) from error
    sources = tuple(
        source.model_copy(update={"path": (folder / source.path).absolute()})
        if isinstance(source, PathSource) and not source.path.is_absolute()
        else source
        for source in recipe.corpus.sources
    )
    return recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"sources": sources})})


def load_recipe(path: Path | str) -> Recipe:
    """Read and check a recipe file.

    Raises:
        DataError: the file is missing, is not YAML or holds a bad key.
    """
    path = Path(path)
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise DataError(
            f"cannot read the recipe {path}: {error.strerror}", "", "give the path of a recipe", str(path)
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not YAML: {' '.join(str(error).split())}", "", "correct the file", str(path)
        ) from error
    return parse_recipe(settings, str(path), path.parent)
