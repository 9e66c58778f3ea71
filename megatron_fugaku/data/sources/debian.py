"""Debian packages as sources: downloaded with apt, checked, and read without installing or unpacking them.

``apt-get download`` needs neither root nor an installation and checks the archive's signatures itself. Where
the machine has no package lists (or they are stale), lists are fetched into the cache folder instead.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from megatron_fugaku.data.recipe import DebianSource
from megatron_fugaku.data.sources import Contents, SourceFiles
from megatron_fugaku.data.sources.errors import SourceMissing
from megatron_fugaku.data.sources.files import gunzip, is_wanted

DOWNLOAD_LIMIT_S = 900
APT_OPTIONS = (
    "-qq",
    "-oAcquire::Retries=2",
    "-oAcquire::http::Timeout=30",
    "-oAcquire::https::Timeout=30",
    "-oAPT::Sandbox::User=root",  # only read by a root apt: its _apt user may not write to the cache folder
)


def open_debian(source: DebianSource, cache: Path, say: Callable[[str], None]) -> SourceFiles:
    """The wanted files of the source's packages.

    Raises:
        SourceMissing: a package cannot be had.
    """
    debs = [fetch_package(package, cache / "debian", say) for package in source.packages]
    digests = [_sha256(deb) for deb in debs]
    return SourceFiles(
        digest=hashlib.sha256("".join(digests).encode()).hexdigest(),
        read=lambda: _read_packages(source, debs),
        provenance={deb.name: digest for deb, digest in zip(debs, digests, strict=True)},
    )


def _read_packages(source: DebianSource, debs: Sequence[Path]) -> Contents:
    files: dict[str, bytes] = {}
    notices = []
    for package, deb in zip(source.packages, debs, strict=True):
        for name, data in iterate_package(deb):
            if name == f"usr/share/doc/{package}/copyright":
                notices.append(data.decode("utf-8", "replace"))
            elif is_wanted(name, source.include, source.exclude):
                plain_name, plain = gunzip(name, data)
                files[plain_name] = plain
    if not files:
        raise SourceMissing(f"no file of {', '.join(source.packages)} matches {', '.join(source.include)}")
    return Contents(len(files), iter(sorted(files.items())), "\n".join(notices))


def iterate_package(deb: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the regular files of a package, in its own order; links are left out.

    Raises:
        SourceMissing: ``dpkg-deb`` is not there or the package is damaged.
    """
    if shutil.which("dpkg-deb") is None:
        raise SourceMissing("dpkg-deb is not installed on this machine")
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as unpacker:
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
                for member in archive:
                    if member.isreg():
                        yield member.name.removeprefix("./"), archive.extractfile(member).read()
        except (tarfile.TarError, EOFError) as error:
            raise SourceMissing(f"{deb.name} is damaged: {error}") from error
        finally:
            unpacker.stdout.close()
    if unpacker.returncode != 0:
        raise SourceMissing(f"{deb.name} is damaged: dpkg-deb ended with {unpacker.returncode}")


def fetch_package(package: str, cache: Path, say: Callable[[str], None]) -> Path:
    """Path of the package in ``cache``, downloaded when it is not there or not as it was when downloaded.

    Raises:
        SourceMissing: it cannot be downloaded.
    """
    for deb in sorted(cache.glob(f"{package}_*.deb")):
        checksum = deb.with_suffix(".deb.sha256")
        if checksum.is_file() and checksum.read_text().strip() == _sha256(deb):
            return deb
        say(f"{deb} is not what was downloaded; downloading it again")
        deb.unlink()
    if shutil.which("apt-get") is None:
        raise SourceMissing("apt-get is not installed on this machine")
    cache.mkdir(parents=True, exist_ok=True)
    say(f"downloading {package}")
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
        reason = _apt(["download", package], Path(folder), ())
        found = list(Path(folder).glob("*.deb"))
        if not found:
            private = _private_lists(cache)
            if _apt(["update"], Path(folder), private) is None:
                reason = _apt(["download", package], Path(folder), private)
                found = list(Path(folder).glob("*.deb"))
        if not found:
            raise SourceMissing(f"apt-get download {package} gave nothing: {reason or 'no reason told'}")
        deb = cache / found[0].name
        checksum = Path(folder, "checksum")
        checksum.write_text(_sha256(found[0]) + "\n")
        os.replace(checksum, deb.with_suffix(".deb.sha256"))
        os.replace(found[0], deb)
    return deb


def _apt(command: list[str], folder: Path, options: tuple[str, ...]) -> str | None:
    """Run apt-get in ``folder``; return None, or the last line of what it complained about."""
    try:
        done = subprocess.run(
            ["apt-get", *APT_OPTIONS, *options, *command],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_LIMIT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {DOWNLOAD_LIMIT_S} s"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return lines[-1] if lines else f"apt-get ended with {done.returncode}"


def _private_lists(cache: Path) -> tuple[str, ...]:
    """apt options that keep package lists in the cache folder, where no root is needed."""
    state, archives = (cache / "apt" / "state").absolute(), (cache / "apt" / "archives").absolute()
    for folder in (state / "lists" / "partial", archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    return (f"-oDir::State={state}", "-oDir::State::status=/var/lib/dpkg/status", f"-oDir::Cache={archives}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
