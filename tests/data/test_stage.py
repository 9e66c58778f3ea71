"""A stage's folder appears whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from megatron_fugaku.data.stage import building, find_change, finish, load_record, lock_folder
from megatron_fugaku.errors import DataError


def write_stage(folder: Path, text: str) -> None:
    with building(folder) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "a").write_text(text)
        finish(partial, "settings", {"in": "digest"}, {"fact": 1})


def test_replaces_the_old_one_and_outdates_the_manifest(tmp_path: Path) -> None:
    write_stage(tmp_path / "corpus", "one")
    (tmp_path / "manifest.json").write_text("{}")
    write_stage(tmp_path / "corpus", "two")
    assert (tmp_path / "corpus" / "sub" / "a").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    record = load_record(tmp_path / "corpus")
    assert record.facts == {"fact": 1} and list(record.files) == ["sub/a"]
    assert find_change(tmp_path / "corpus", record) is None
    (tmp_path / "corpus" / "sub" / "a").write_text("tow")
    assert find_change(tmp_path / "corpus", record) == "sub/a"
    (tmp_path / "corpus" / "stage.json").write_text("{")
    assert load_record(tmp_path / "corpus") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), DataError),
        (ValueError("a fault"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_failure_leaves_the_old_one_and_no_half(tmp_path: Path, error, expected) -> None:
    write_stage(tmp_path / "corpus", "one")
    with pytest.raises(expected) as caught, building(tmp_path / "corpus") as partial:
        (partial / "half").write_text("h")
        raise error
    if expected is DataError:
        assert "cannot write x.bin: No space left" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    assert find_change(tmp_path / "corpus", load_record(tmp_path / "corpus")) is None


def test_lock_and_cleaning_up(tmp_path: Path) -> None:
    (tmp_path / ".tokens.partial").mkdir()
    with lock_folder(tmp_path):
        assert not (tmp_path / ".tokens.partial").exists()
        with pytest.raises(DataError, match="another mfugaku data"), lock_folder(tmp_path):
            pass
    with lock_folder(tmp_path):
        pass
