"""Where documents come from: one module per kind of source.

:func:`open_source` answers with a :class:`SourceFiles`, or raises :class:`SourceMissing` with the reason why
the source is not to be had on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from megatron_fugaku.data.recipe import DebianSource, PathSource, Source
from megatron_fugaku.data.sources.errors import SourceMissing

__all__ = ["Contents", "SourceFiles", "SourceMissing", "open_source"]


@dataclass(frozen=True)
class Contents:
    """What a source holds.

    Attributes:
        num_files: how many files there are.
        files: (name, bytes), sorted by name, names relative to the source; gzip already undone.
        copyright: the text of the packages' copyright files, empty where there is none.
    """

    num_files: int
    files: Iterator[tuple[str, bytes]]
    copyright: str = ""


@dataclass(frozen=True)
class SourceFiles:
    """A source that is to be had.

    Attributes:
        digest: SHA-256 (hex) of everything that :attr:`read` will give.
        read: opens the contents; may raise :class:`SourceMissing` when they turn out to be damaged.
        provenance: versions and digests for the manifest.
    """

    digest: str
    read: Callable[[], Contents]
    provenance: dict[str, str] = field(default_factory=dict)


def open_source(source: Source, cache: Path, say: Callable[[str], None]) -> SourceFiles:
    """Open ``source``; downloads go to ``cache``, ``say`` gets one line per download.

    Raises:
        SourceMissing: the source is not to be had.
    """
    from megatron_fugaku.data.sources import debian, files

    if isinstance(source, DebianSource):
        return debian.open_debian(source, cache, say)
    if isinstance(source, PathSource):
        return files.open_path(source)
    return files.open_stdlib(source)
