"""Debian packages as sources, with a real package built here and a stand-in for apt-get that hands it out."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from megatron_fugaku.data.recipe import DebianSource
from megatron_fugaku.data.sources import SourceMissing, debian, open_source

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")

SOURCE = DebianSource(
    name="pages", kind="debian", packages=("some-pages",), include=("usr/share/man/*",), reader="man", language="ja",
    licence="CC0-1.0",
)  # fmt: skip


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch) -> Path:
    """Put an ``apt-get`` first in PATH that copies packages out of the returned folder and notes each call."""
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: some-pages\nVersion: 1.0\nArchitecture: all\nMaintainer: n\nDescription: d\n"
    )
    pages = root / "usr/share/man/ja/man1"
    pages.mkdir(parents=True)
    (pages / "b.1.gz").write_bytes(gzip.compress(b".TH B 1\n"))
    (pages / "a.1").write_bytes(b".TH A 1\n")
    (pages / "link.1").symlink_to("a.1")
    (root / "usr/share/doc/some-pages").mkdir(parents=True)
    (root / "usr/share/doc/some-pages/copyright").write_text("Licence: CC0-1.0")
    store = tmp_path / "store"
    store.mkdir()
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(root), str(store / "some-pages_1.0_all.deb")],
        check=True,
        capture_output=True,
    )
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {store}/calls\nfor last; do :; done\n'
        f'cp {store}/"$last"_*.deb . 2>/dev/null || {{ echo "E: Unable to locate package $last" >&2; exit 100; }}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return store


def test_package_is_read_without_unpacking(downloads: Path, tmp_path: Path) -> None:
    said: list[str] = []
    opened = open_source(SOURCE, tmp_path / "cache", said.append)
    contents = opened.read()
    assert list(contents.files) == [
        ("usr/share/man/ja/man1/a.1", b".TH A 1\n"),
        ("usr/share/man/ja/man1/b.1", b".TH B 1\n"),
    ]
    assert contents.num_files == 2 and contents.copyright == "Licence: CC0-1.0"
    assert list(opened.provenance) == ["some-pages_1.0_all.deb"]
    assert said == ["downloading some-pages"]
    open_source(SOURCE, tmp_path / "cache", said.append)
    assert len((downloads / "calls").read_text().splitlines()) == 1  # the second time it came from the cache


def test_damaged_cache_is_downloaded_again(downloads: Path, tmp_path: Path) -> None:
    open_source(SOURCE, tmp_path / "cache", print)
    (deb,) = (tmp_path / "cache" / "debian").glob("*.deb")
    whole = deb.read_bytes()
    deb.write_bytes(whole[:-9])
    said: list[str] = []
    open_source(SOURCE, tmp_path / "cache", said.append)
    assert "is not what was downloaded" in said[0] and deb.read_bytes() == whole


def test_damaged_package(downloads: Path, tmp_path: Path) -> None:
    package = downloads / "some-pages_1.0_all.deb"
    package.write_bytes(package.read_bytes()[:300])
    with pytest.raises(SourceMissing, match="is damaged"):
        open_source(SOURCE, tmp_path / "cache", print).read()


def test_what_is_not_to_be_had(downloads: Path, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(SourceMissing, match="Unable to locate package other"):
        open_source(SOURCE.model_copy(update={"packages": ("other",)}), tmp_path / "cache", print)
    calls = (downloads / "calls").read_text()
    assert "update" in calls and "Dir::State=" in calls  # own package lists were tried before giving up
    with pytest.raises(SourceMissing, match="no file of some-pages"):
        open_source(SOURCE.model_copy(update={"include": ("nothing",)}), tmp_path / "cache", print).read()
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    with pytest.raises(SourceMissing, match="apt-get is not installed"):
        open_source(SOURCE, tmp_path / "other-cache", print)
