"""Makes shared libraries that do not load: each lacks, or is, something that the real dynamic linker refuses."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def compile_library(folder: Path, name: str, source: str, link: Sequence[Path] = (),
                    versions: Mapping[str, str] | None = None) -> Path:
    """Compile C ``source`` into ``folder/name``, which is also its soname; ``versions`` puts symbols under versions."""
    file, library = folder / f"{name}.c", folder / name
    file.write_text(source)
    command = ["cc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{name}", "-o", str(library), str(file)]
    if versions:
        script = folder / f"{name}.map"
        script.write_text("\n".join(f"{version} {{ global: {symbol}; }};" for version, symbol in versions.items()))
        command.append(f"-Wl,--version-script={script}")
    subprocess.run([*command, *map(str, link)], check=True)
    return library


def set_processor(library: Path, number: int) -> Path:
    """Make a library one of another processor: ``e_machine`` of its header."""
    data = bytearray(library.read_bytes())
    struct.pack_into("<H", data, 18, number)
    library.write_bytes(data)
    return library
