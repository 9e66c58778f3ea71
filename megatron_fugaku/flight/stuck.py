"""Who waits where, and who is missing: one sentence per group that does not get on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from megatron_fugaku.flight.files import Group, Operation, RankRecord

MIN_WAIT_S = 1.0


@dataclass(frozen=True)
class _Waiting:
    record: RankRecord
    operation: Operation

    @property
    def seconds(self) -> float:
        return self.record.beat_s - self.operation.start_s


def _ranks(ranks: Iterable[int]) -> str:
    listed = sorted(ranks)
    if len(listed) > 8:
        return f"ranks {', '.join(map(str, listed[:6]))} and {len(listed) - 6} others"
    return f"rank{'s' if len(listed) > 1 else ''} {', '.join(map(str, listed))}"


def _size(num_bytes: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.4g} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.4g} GiB"


def _what(operation: Operation) -> str:
    peers = operation.group.members
    peer = peers[operation.peer] if 0 <= operation.peer < len(peers) else operation.peer
    direction = f" {'to' if operation.name == 'send' else 'from'} rank {peer}" if operation.peer >= 0 else ""
    return f"{operation.name} number {operation.sequence}{direction}"


class _Flight:
    """The records by rank, and what each group's members have reached."""

    def __init__(self, records: Sequence[RankRecord], min_wait_s: float):
        self.records = {record.rank: record for record in records}
        self.min_wait_s = min_wait_s

    def members_of(self, group: Group) -> tuple[int, ...]:
        found = {record.rank for record in self.records.values() for operation in record.operations
                 if operation.group.name == group.name and operation.group.members == group.members}
        return group.members or tuple(sorted(found))

    def waiting(self) -> list[_Waiting]:
        return [_Waiting(record, operation) for record in self.records.values() if record.ending != "finalized"
                for operation in record.open_operations]

    def reached(self, rank: int, group: Group) -> int:
        """The latest collective of the group that the rank has called; 0: none that is noted."""
        record = self.records.get(rank)
        return max((operation.sequence for operation in (record.operations if record else ())
                    if operation.is_collective and operation.group.name == group.name), default=0)

    def is_blocked(self, rank: int) -> bool:
        record = self.records.get(rank)
        return record is not None and record.is_alive is not False and bool(record.open_operations)

    def silent_s(self, rank: int) -> float:
        """How much longer than any other rank this one has given no sign of life."""
        record = self.records.get(rank)
        if record is None or record.ending:
            return 0.0
        return max(one.beat_s for one in self.records.values()) - record.beat_s

    def describe(self, rank: int) -> str:
        """What a rank does instead of coming."""
        record = self.records.get(rank)
        if record is None:
            return f"rank {rank} left no record"
        if record.ending:
            return f"rank {rank} has {'left MPI' if record.ending == 'finalized' else 'aborted the job'}"
        if record.is_alive is False:
            return f"rank {rank} is gone (process {record.pid} on {record.host})"
        if record.open_operations:
            operation = record.open_operations[0]
            return f"rank {rank} is in {_what(operation)} of group '{operation.group.label}'"
        if not record.operations:
            return f"rank {rank} has called nothing yet"
        last = max(record.operations, key=lambda operation: operation.end_s)
        silent_s = max(one.beat_s for one in self.records.values()) - last.end_s
        return (f"rank {rank} is in no operation since {silent_s:.1f} s, its last was {_what(last)} of group "
                f"'{last.group.label}'")


def _explain_collective(flight: _Flight, group: Group, waiting: list[_Waiting]) -> tuple[bool, str]:
    sequence = min(one.operation.sequence for one in waiting if one.seconds >= flight.min_wait_s)
    here = [one for one in waiting if one.operation.sequence == sequence
            and (one.seconds >= flight.min_wait_s or flight.silent_s(one.record.rank) < flight.min_wait_s)]
    operation = here[0].operation
    members = flight.members_of(group)
    absent = [rank for rank in members if flight.reached(rank, group) < sequence]
    is_root = not absent or not all(flight.is_blocked(rank) for rank in absent)
    text = (f"group '{group.label}' ({_ranks(members)}): {_ranks(one.record.rank for one in here)} "
            f"wait{'s' if len(here) == 1 else ''} since {max(one.seconds for one in here):.1f} s in {_what(operation)} "
            f"({_size(operation.num_bytes)}, {operation.way})")
    if not absent:
        silent = [f"rank {rank} gives no sign of life since {flight.silent_s(rank):.1f} s" for rank in members
                  if flight.silent_s(rank) >= flight.min_wait_s]
        return is_root, f"{text}; all have come, but {', '.join(silent[:4]) or 'it does not end'}."
    described = [flight.describe(rank) for rank in absent[:4]]
    if len(absent) > 4:
        described.append(f"{len(absent) - 4} others are missing too")
    return is_root, f"{text}; missing: {'; '.join(described)}."


def _explain_message(flight: _Flight, one: _Waiting) -> tuple[bool, str]:
    operation, members = one.operation, one.operation.group.members
    peer = members[operation.peer] if 0 <= operation.peer < len(members) else None
    text = (f"group '{operation.group.label}': rank {one.record.rank} waits since {one.seconds:.1f} s in "
            f"{_what(operation)} ({_size(operation.num_bytes)})")
    if peer is None:
        return True, text + "."
    return not flight.is_blocked(peer), f"{text}; {flight.describe(peer)}."


def explain_stuck(records: Sequence[RankRecord], min_wait_s: float = MIN_WAIT_S) -> list[str]:
    """Return one sentence per group that has waited for ``min_wait_s`` seconds or more.

    First come those whose missing ranks wait for nobody: there the fault is to be looked for.
    """
    flight = _Flight(records, min_wait_s)
    by_group: dict[tuple, list[_Waiting]] = defaultdict(list)
    found: list[tuple[bool, str]] = []
    for one in flight.waiting():
        if one.operation.is_collective:
            by_group[one.operation.group.name, one.operation.group.members].append(one)
        elif one.seconds >= min_wait_s:
            found.append(_explain_message(flight, one))
    found += [_explain_collective(flight, waiting[0].operation.group, waiting) for waiting in by_group.values()
              if any(one.seconds >= min_wait_s for one in waiting)]
    return [text for _, text in sorted(found, key=lambda pair: not pair[0])]
