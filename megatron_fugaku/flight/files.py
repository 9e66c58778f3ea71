"""Reads the files of the flight recorder; their layout stands in ``csrc/comm/flight.cpp``."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku.errors import DataError

#: Where in a run folder the files lie.
FOLDER = "flight"
_MAGIC = b"mfugaku flight 1"
_HEADER = struct.Struct("=16sIIIiIIIIddQdII64s40s")
_GROUP = struct.Struct("=128s128sii760s")
_SLOT = struct.Struct("=QQqdddIiII32s32s")
_ENDINGS = ("", "finalized", "aborted")


@dataclass(frozen=True)
class Group:
    """A process group as a member knows it; ``members`` are MPI ranks, empty when they were too many to note."""

    name: str
    description: str
    size: int
    rank: int
    members: tuple[int, ...]

    @property
    def label(self) -> str:
        """What people call it."""
        return self.description or self.name


@dataclass(frozen=True)
class Operation:
    """One operation of one rank. Times are seconds since the epoch; None: not yet."""

    name: str
    group: Group
    sequence: int
    num_bytes: int
    peer: int
    way: str
    start_s: float
    wait_start_s: float | None
    end_s: float | None
    has_failed: bool

    @property
    def is_collective(self) -> bool:
        """Numbered alike on all members of its group."""
        return self.peer < 0 and self.sequence > 0 and self.name != "recv"


@dataclass(frozen=True)
class RankRecord:
    """What one rank's file says. ``beat_s`` is when it last was seen alive, ``ending`` how it ended by itself.

    ``is_alive`` is None when the process is of another machine, or of another start of this one.
    """

    rank: int
    num_ranks: int
    pid: int
    host: str
    beat_s: float
    ending: str
    is_alive: bool | None
    operations: tuple[Operation, ...]

    @property
    def open_operations(self) -> list[Operation]:
        """Those that are not over, in the order of their calls."""
        return [operation for operation in self.operations if operation.end_s is None]


def path_of(folder: Path, rank: int) -> Path:
    """Return the file of a rank."""
    return folder / f"rank_{rank:05d}.flight"


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="replace")


def parse_ranks(text: str) -> tuple[int, ...]:
    """``0-4:2,9`` -> (0, 2, 4, 9)."""
    ranks: list[int] = []
    for part in filter(None, text.split(",")):
        run, _, step = part.partition(":")
        first, _, last = run.partition("-")
        ranks.extend(range(int(first), int(last or first) + 1, int(step or 1)))
    return tuple(ranks)


def _is_alive(pid: int, boot_id: str) -> bool | None:
    try:
        here = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    if boot_id != here:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A process whose parent has not asked for its end yet is over all the same.
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _read_slots(data: bytes, offset: int, num_slots: int) -> Iterator[tuple]:
    slots = [_SLOT.unpack_from(data, offset + index * _SLOT.size) for index in range(num_slots)]
    return iter(sorted(slot for slot in slots if slot[0] > 0))


def _read(path: Path) -> RankRecord | None:
    data = path.read_bytes()
    if len(data) < _HEADER.size or data[: len(_MAGIC)] != _MAGIC:
        return None
    (_, header_bytes, rank, num_ranks, pid, num_slots, slot_bytes, num_group_slots, group_bytes, monotonic_s, epoch_s,
     _, beat_s, ending, num_groups, host, boot_id) = _HEADER.unpack_from(data)
    first_slot = header_bytes + num_group_slots * group_bytes
    if (slot_bytes, group_bytes) != (_SLOT.size, _GROUP.size) or len(data) < first_slot + num_slots * slot_bytes:
        return None
    groups = []
    for index in range(min(num_groups, num_group_slots)):
        name, description, size, group_rank, members = _GROUP.unpack_from(data, header_bytes + index * group_bytes)
        groups.append(Group(_text(name), _text(description), size, group_rank, parse_ranks(_text(members))))
    unknown = Group("beyond those that the recorder notes", "", 0, 0, ())

    def in_epoch(time_s: float) -> float | None:
        return time_s - monotonic_s + epoch_s if time_s else None

    operations = tuple(
        Operation(_text(name), groups[group] if group < len(groups) else unknown, sequence, num_bytes, peer, _text(way),
                  in_epoch(start_s), in_epoch(wait_start_s), in_epoch(end_s) if is_over else None, bool(has_failed))
        for _, sequence, num_bytes, start_s, wait_start_s, end_s, group, peer, is_over, has_failed, name, way
        in _read_slots(data, first_slot, num_slots))
    return RankRecord(rank, num_ranks, pid, _text(host), in_epoch(beat_s), _ENDINGS[min(ending, 2)],
                      _is_alive(pid, _text(boot_id)), operations)


def load_flight(folder: str | Path) -> list[RankRecord]:
    """Return what the ranks' files say, by rank. ``folder`` is a run folder or the files' own.

    A file that is just being made is passed over.

    Raises:
        DataError: there is no such file, or one cannot be read.
    """
    place = Path(folder)
    if (place / FOLDER).is_dir():
        place = place / FOLDER
    try:
        records = [record for path in sorted(place.glob("rank_*.flight")) if (record := _read(path)) is not None]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}", "it says what that rank did last",
                        "make it readable", str(place)) from error
    if not records:
        raise DataError(f"{place} holds no file of the flight recorder", "only they know what the ranks wait for",
                        "give the folder of a run, or that of MFUGAKU_COMM_FLIGHT_DIR", str(folder))
    return sorted(records, key=lambda record: record.rank)
