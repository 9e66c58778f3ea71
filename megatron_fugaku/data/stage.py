"""Stages: a folder that appears whole or not at all, and is reused while nothing it was made from has changed.

A stage's folder holds ``stage.json``: what it was made from, the SHA-256 of every file, and what it has to say
for the manifest. It is built under a temporary name beside its final one and renamed at the end.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from megatron_fugaku.errors import DataError

RECORD = "stage.json"
MANIFEST = "manifest.json"
_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}


class FileRecord(BaseModel):
    """Size and digest of one file."""

    model_config = ConfigDict(extra="forbid")
    bytes: int
    sha256: str


class StageRecord(BaseModel):
    """Contents of ``stage.json``.

    Attributes:
        settings: digest of the settings that shape the result, and of the format written.
        inputs: name → digest of what was read.
        files: name within the folder → size and digest.
        facts: the stage's own figures.
    """

    model_config = ConfigDict(extra="forbid")
    settings: str
    inputs: dict[str, str]
    files: dict[str, FileRecord]
    facts: dict[str, Any] = {}


def hash_file(path: Path) -> FileRecord:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return FileRecord(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


def hash_settings(**settings: Any) -> str:
    """SHA-256 (hex) of JSON-able settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def load_record(folder: Path) -> StageRecord | None:
    """The record of a finished stage; None where there is none that can be read."""
    try:
        return StageRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None


def find_change(folder: Path, record: StageRecord) -> str | None:
    """Name the first file of a stage that is missing or is not what was written; None where all are whole."""
    for name, written in record.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != written.bytes or hash_file(path) != written:
            return name
    return None


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other commands out of ``folder``, and clear away what a killed one left half-written.

    Raises:
        DataError: another command works there now, or the folder cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"another mfugaku data writes to {folder}",
                "two at once would mix their files",
                "wait for it, or give another --output",
                "--output",
            ) from error
        for left in folder.glob(".*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A fresh folder to write a stage into; it takes ``folder``'s place when the block ends well.

    The manifest beside ``folder`` speaks for all stages at once, so it goes just before one of them changes.

    Raises:
        DataError: the disk is full or cannot be written.
    """
    partial = folder.parent / f".{folder.name}.partial"
    old = folder.parent / f".{folder.name}.old.partial"
    with storage_errors(folder):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            shutil.rmtree(old, ignore_errors=True)
            (folder.parent / MANIFEST).unlink(missing_ok=True)
            if folder.exists():
                os.replace(folder, old)
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def finish(folder: Path, settings: str, inputs: dict[str, str], facts: dict[str, Any]) -> StageRecord:
    """Hash every file of ``folder`` and write its record."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    record = StageRecord(
        settings=settings, inputs=inputs, files={name: hash_file(folder / name) for name in names}, facts=facts
    )
    (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return record


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about storage into a :class:`DataError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STORAGE_ERRNOS:
            raise
        raise DataError(
            f"cannot write {error.filename or folder}: {error.strerror}",
            "the stage needs its files whole, so what was half-written is removed",
            "free some space or choose another --output, then run the same command again",
            str(folder),
        ) from error
