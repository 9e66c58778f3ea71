"""Sources that lie on this machine: a folder, a file, the Python standard library."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from megatron_fugaku.data.recipe import PathSource, SourceBase, StdlibSource
from megatron_fugaku.data.sources import Contents, SourceFiles
from megatron_fugaku.data.sources.errors import SourceMissing

BLOCK_BYTES = 4 << 20
"""A JSONL file is handed out in blocks of whole lines of about this size, so that it need not fit in memory."""


def is_wanted(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether ``name`` matches one of ``include`` and none of ``exclude``."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in include) and not any(
        fnmatch.fnmatchcase(name, pattern) for pattern in exclude
    )


def gunzip(name: str, data: bytes) -> tuple[str, bytes]:
    """Undo gzip when ``name`` ends in ``.gz``; the suffix goes too.

    Raises:
        SourceMissing: the data is damaged.
    """
    if not name.endswith(".gz"):
        return name, data
    try:
        return name.removesuffix(".gz"), gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise SourceMissing(f"{name} is not whole gzip data: {error}") from error


def list_files(root: Path, include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Names of the wanted regular files below ``root``, sorted, with ``/``; links to folders are not followed."""
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for file in files:
            name = Path(folder, file).relative_to(root).as_posix()
            if is_wanted(name, include, exclude):
                names.append(name)
    return sorted(names)


def _digest(root: Path, names: Sequence[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        with (root / name).open("rb") as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _blocks(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        number = 0
        while lines := file.readlines(BLOCK_BYTES):
            yield f"{name}:{number:06d}", b"".join(lines)
            number += 1


def _open_folder(root: Path, names: Sequence[str], reader: str, provenance: dict[str, str]) -> SourceFiles:
    def iterate() -> Iterator[tuple[str, bytes]]:
        for name in names:
            with _readable(root / name):
                if reader == "jsonl":
                    yield from _blocks(name, root / name)
                else:
                    yield gunzip(name, (root / name).read_bytes())

    with _readable(root):
        return SourceFiles(_digest(root, names), lambda: Contents(len(names), iterate()), provenance)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceMissing(f"cannot read {getattr(error, 'filename', None) or path}: {reason}") from error


def open_path(source: PathSource) -> SourceFiles:
    """A folder or file of this machine.

    Raises:
        SourceMissing: it is not there, or nothing in it is wanted.
    """
    root = source.path
    if root.is_file():
        return _open_folder(root.parent, [root.name], source.reader, {})
    if not root.is_dir():
        raise SourceMissing(f"{root} is not there")
    return _open_folder(root, _some(source, root), source.reader, {})


def open_stdlib(source: StdlibSource) -> SourceFiles:
    """The running Python's standard library, without what pip installed.

    Raises:
        SourceMissing: this Python has no source files.
    """
    root = Path(sysconfig.get_path("stdlib"))
    exclude = (*source.exclude, "site-packages/*", "dist-packages/*")
    names = _some(source.model_copy(update={"exclude": exclude}), root)
    return _open_folder(root, names, source.reader, {"python": platform.python_version()})


def _some(source: SourceBase, root: Path) -> list[str]:
    names = list_files(root, source.include, source.exclude)
    if not names:
        raise SourceMissing(f"no file below {root} matches {', '.join(source.include)}")
    return names
