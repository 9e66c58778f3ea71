"""Every fault of a recipe is one error that names file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from megatron_fugaku.data.recipe import load_recipe
from megatron_fugaku.errors import DataError

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart" / "corpus.yaml"


def write(folder: Path, settings: dict) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_quickstart_recipe_loads_and_fits_tensor_parallel_4() -> None:
    recipe = load_recipe(QUICKSTART)
    assert recipe.tokenizer.vocab_size % (128 * 4) == 0
    assert {source.language for source in recipe.corpus.sources} == {"ja", "en", "code", "math"}
    assert sum(budget.weight for budget in recipe.corpus.languages.values()) == 100


def test_relative_paths_start_at_the_recipe(tmp_path: Path, settings: dict) -> None:
    recipe = load_recipe(write(tmp_path, settings))
    assert recipe.corpus.sources[0].path == tmp_path / "pages"
    assert recipe.digest() == load_recipe(tmp_path / "recipe.yaml").digest()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda s: s.update(extra=1), "extra"),
        (lambda s: s["corpus"]["sources"][0].update(kind="ftp"), "corpus.sources.0"),
        (lambda s: s["corpus"]["sources"][0].update(colour=1), "corpus.sources.0.path.colour"),
        (lambda s: s["corpus"]["sources"][0].update(language="fr"), "corpus.sources.0.path.language"),
        (lambda s: s["corpus"]["sources"][0].update(name="stdlib"), "stdlib"),
        (lambda s: s["corpus"]["sources"][0].update(name="../x"), "corpus.sources.0.path.name"),
        (lambda s: s["corpus"]["languages"]["ja"].pop("weight"), "weight"),
        (lambda s: s["corpus"]["languages"].pop("ja"), "'ja' has no weight"),
        (lambda s: s["tokenizer"].update(vocab_size=100), "tokenizer.vocab_size"),
        (lambda s: s["tokens"].update(valid_share=0.7), "tokens.valid_share"),
        (lambda s: s.pop("tokenizer"), "tokenizer"),
    ],
)
def test_bad_keys(tmp_path: Path, settings: dict, change, key: str) -> None:
    change(settings)
    with pytest.raises(DataError) as caught:
        load_recipe(write(tmp_path, settings))
    assert key in str(caught.value)
    assert str(tmp_path / "recipe.yaml") in str(caught.value)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_recipe(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(DataError, match="not YAML"):
        load_recipe(tmp_path / "bad.yaml")
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n")
    with pytest.raises(DataError, match="'name' is given twice"):
        load_recipe(tmp_path / "twice.yaml")
