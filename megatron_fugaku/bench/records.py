"""What every benchmark says: one record per comparison, as a line of JSON and as a line of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Record:
    """One comparison with one peer, or a bare fact when ``peer`` is empty.

    Attributes:
        benchmark: which benchmark, e.g. ``comm``.
        case: what was measured, e.g. ``all_reduce float32 1 KiB on 2 ranks``.
        metric: the quantity, e.g. ``time_per_call``.
        value: ours, in ``unit``; smaller is better.
        unit: of both values.
        peer: what ours is compared with.
        peer_value: the peer's, in ``unit``.
        target: the least ``ratio`` asked for; None when nothing is.
    """

    benchmark: str
    case: str
    metric: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; 1 is equal."""
        return None if self.peer_value is None else self.peer_value / self.value

    @property
    def ok(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None or self.ratio is None else self.ratio >= self.target

    def to_json(self) -> str:
        """Return one line of JSON, values rounded to five digits; not the ratio, which must agree with ``ok``."""
        fields = {**asdict(self), "ratio": self.ratio, "ok": self.ok}
        order = ("benchmark", "case", "metric", "value", "unit", "peer", "peer_value", "ratio", "target", "ok")
        shown = {name: fields[name] if name == "ratio" else _rounded(fields[name]) for name in order}
        return json.dumps(shown, ensure_ascii=False)


def _rounded(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


def render_json_lines(records: Iterable[Record]) -> str:
    """Return one line per record."""
    return "".join(f"{record.to_json()}\n" for record in records)


def render_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an aligned table: the first column to the left, the others to the right."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                          zip(row[1:], widths[1:], strict=True))]).rstrip()
                     for row in table) + "\n"


def render_size(num_bytes: int) -> str:
    """1024 -> ``1 KiB``."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024 or num_bytes % 1024:
            return f"{num_bytes} {unit}"
        num_bytes //= 1024
    return f"{num_bytes} GiB"


def parse_size(text: str) -> int:
    """``64K``, ``64KiB``, ``1M``, ``4096`` -> bytes.

    Raises:
        ValueError: anything else.
    """
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    factors = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    factor = factors.get(number[-1:], 1)
    value = int(number[:-1] if factor > 1 else number) * factor
    if value <= 0:
        raise ValueError(f"{text!r} is not a size")
    return value
