import os
from pathlib import Path

import pytest

from megatron_fugaku.atomic_file import write_text_atomically


def test_replaces_and_leaves_no_other_file(tmp_path: Path):
    path = tmp_path / "file.txt"
    write_text_atomically(path, "one")
    write_text_atomically(path, "二")
    assert path.read_text(encoding="utf-8") == "二"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "file.txt"
    write_text_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(path, "\ud800")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file.txt"
    write_text_atomically(path, "old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_text_atomically(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]
