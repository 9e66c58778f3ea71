"""What a shared library says of itself: the processor it is for, the libraries and the symbol versions it asks for.

Source: System V ABI, chapters 4 and 5; Linux Standard Base Core 5.0, 10.7 (symbol versions).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

MACHINES = {3: "i386", 21: "ppc64le", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}

_LITTLE_ENDIAN, _64_BITS = 1, 2
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_VERNEED, _DT_VERNEEDNUM = 1, 5, 0x6FFFFFFE, 0x6FFFFFFF


@dataclass(frozen=True)
class Library:
    """``needed`` holds file names such as ``libc.so.6``; ``versions`` by such a name ones such as ``GLIBC_2.34``.

    Both are empty for a file that is not 64-bit and little-endian, as all of ours are.
    """

    machine: str
    needed: tuple[str, ...] = ()
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)


class _Image:
    """The bytes of a file and where addresses of the loaded library stand in it."""

    def __init__(self, data: bytes):
        self.data = data
        offset, size, count = (*self.at("<Q", 32), *self.at("<HH", 54))
        self.headers = [self.at("<IIQQQQ", offset + size * index) for index in range(count)]
        # Cut off in the middle, it would kill the process that loads it instead of raising.
        end = max((offset + size for kind, _, offset, _, _, size in self.headers if kind == _PT_LOAD), default=0)
        if end > len(data):
            raise ValueError(f"{len(data)} of {end} bytes")

    def at(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(layout, self.data, offset)

    def offset_of(self, address: int) -> int:
        for kind, _, offset, start, _, size in self.headers:
            if kind == _PT_LOAD and start <= address < start + size:
                return offset + address - start
        raise ValueError(f"no segment holds the address {address:#x}")

    def dynamic(self) -> list[tuple[int, ...]]:
        for kind, _, offset, _, _, size in self.headers:
            if kind == _PT_DYNAMIC:
                return [self.at("<qQ", position) for position in range(offset, offset + size, 16)]
        return []

    def text(self, offset: int) -> str:
        return self.data[offset:self.data.index(b"\0", offset)].decode()


def _read_versions(image: _Image, start: int, count: int, strings: int) -> dict[str, tuple[str, ...]]:
    versions: dict[str, tuple[str, ...]] = {}
    for _ in range(count):
        _, num_names, file, first, following = image.at("<HHIII", start)
        names, position = [], start + first
        for _ in range(num_names):
            _, _, _, name, step = image.at("<IHHII", position)
            names.append(image.text(strings + name))
            position += step
        versions[image.text(strings + file)] = tuple(names)
        start += following
    return versions


def read_library(path: Path) -> Library | None:
    """Read a shared library or program; None when the file is none, or is cut off.

    Raises:
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or len(data) < 64:
        return None
    order = "<" if data[5] == _LITTLE_ENDIAN else ">"
    (number,) = struct.unpack_from(order + "H", data, 18)
    machine = MACHINES.get(number, f"processor number {number}")
    if data[4] != _64_BITS or order == ">":
        return Library(machine)
    try:
        image = _Image(data)
        dynamic = image.dynamic()
        tables = dict(dynamic)
        if _DT_STRTAB not in tables:
            return Library(machine)
        strings = image.offset_of(tables[_DT_STRTAB])
        needed = tuple(image.text(strings + value) for tag, value in dynamic if tag == _DT_NEEDED)
        versions = {}
        if _DT_VERNEED in tables:
            start = image.offset_of(tables[_DT_VERNEED])
            versions = _read_versions(image, start, tables[_DT_VERNEEDNUM], strings)
    except (struct.error, ValueError):
        return None
    return Library(machine, needed, versions)
