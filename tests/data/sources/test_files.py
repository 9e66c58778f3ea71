"""Files of this machine as sources."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from megatron_fugaku.data.recipe import PathSource, StdlibSource
from megatron_fugaku.data.sources import SourceMissing, files, open_source


def path_source(path: Path, **settings) -> PathSource:
    settings = {"reader": "text", **settings}
    return PathSource(name="s", kind="path", path=path, language="en", licence="CC0-1.0", **settings)


def open_here(source):
    return open_source(source, Path("unused"), print)


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "sub" / "a.txt.gz").write_bytes(gzip.compress(b"a"))
    (tmp_path / "c.bin").write_text("c")
    source = path_source(tmp_path, include=("*.txt", "*.txt.gz"))
    opened = open_here(source)
    assert list(opened.read().files) == [("b.txt", b"b"), ("sub/a.txt", b"a")]
    (tmp_path / "b.txt").write_text("B")
    assert open_here(source).digest != opened.digest
    assert list(open_here(path_source(tmp_path, exclude=("sub/*", "*.bin"))).read().files) == [("b.txt", b"B")]


def test_missing_things(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="is not there"):
        open_here(path_source(tmp_path / "absent"))
    with pytest.raises(SourceMissing, match=r"no file .* matches \*.txt"):
        open_here(path_source(tmp_path, include=("*.txt",)))
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(SourceMissing, match="not whole gzip"):
        list(open_here(path_source(tmp_path)).read().files)


def test_jsonl_comes_in_blocks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 100)
    lines = [json.dumps({"text": "x" * n}) + "\n" for n in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    blocks = list(open_here(path_source(tmp_path / "a.jsonl", reader="jsonl")).read().files)
    assert len(blocks) > 3 and b"".join(data for _, data in blocks) == "".join(lines).encode()
    assert [name for name, _ in blocks] == sorted(name for name, _ in blocks)


def test_standard_library() -> None:
    opened = open_here(StdlibSource(name="std", kind="stdlib", include=("json/*.py", "*/six.py")))
    names = [name for name, _ in opened.read().files]
    assert "json/decoder.py" in names and not any("-packages" in name for name in names)
    assert "python" in opened.provenance
