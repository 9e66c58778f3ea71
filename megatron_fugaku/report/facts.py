"""The words and tables of the report: what differs from the defaults, what a manifest says, numbers for people."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from megatron_fugaku.config import RunConfig
from megatron_fugaku.errors import DataError


def format_count(value: float) -> str:
    """Write a count with three or four digits: ``1,234``, ``45.6 k``, ``13.2 B``; a dash when it is not finite."""
    if not math.isfinite(value):
        return "–"
    for threshold, size, suffix in ((1e12, 1e12, "T"), (1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= threshold:
            return f"{value / size:.3g} {suffix}"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def format_flops(flops_per_s: float) -> str:
    """Write a rate of floating-point operations: ``3.21 TFLOP/s``."""
    if not math.isfinite(flops_per_s):
        return "–"
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if flops_per_s >= size:
            return f"{flops_per_s / size:.3g} {prefix}FLOP/s"
    return f"{flops_per_s:.3g} FLOP/s"


def format_duration(seconds: float) -> str:
    """Write a time: ``15 µs``, ``12 ms``, ``3.4 s``, ``5 min 12 s``, ``2 h 5 min``."""
    if not math.isfinite(seconds):
        return "–"
    if 0 < seconds < 0.0009995:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def differing_settings(config: RunConfig) -> dict[str, Any]:
    """Return dotted keys and JSON values of the settings that differ from their defaults, in the schema's order.

    Settings that have no default are always among them.
    """
    return _differences(config, "")


def _differences(section: BaseModel, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found |= _differences(value, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        if default is PydanticUndefined or value != default:
            found[prefix + name] = values[name]
    return found


def load_manifest(run_dir: Path) -> dict[str, Any]:
    """Read ``manifest.json``; {} when the run wrote none.

    Raises:
        DataError: it is not a JSON object.
    """
    path = run_dir / "manifest.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "it names the versions and patches of the run",
                        "restore it, or remove it to make a report without it", str(path)) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__}, not an object", "it names versions and patches",
                        "restore it, or remove it to make a report without it", str(path))
    return content


def render_value(value: Any) -> str:
    """Return HTML of a JSON value: text, a list of words, or a table."""
    if isinstance(value, Mapping):
        return render_pairs(value) if value else '<span class="muted">none</span>'
    if isinstance(value, list):
        return _render_list(value)
    if value is None:
        return '<span class="muted">none</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return html.escape(f"{value:.10g}")
    if isinstance(value, int):
        return f"{value:,}"
    return html.escape(str(value))


def _render_list(values: list[Any]) -> str:
    if not values:
        return '<span class="muted">none</span>'
    if not any(isinstance(value, Mapping | list) for value in values):
        return ", ".join(render_value(value) for value in values)
    if all(isinstance(value, Mapping) for value in values):
        columns = list(dict.fromkeys(str(key) for value in values for key in value))
        rows = [[render_value(value.get(column, "")) for column in columns] for value in values]
        return render_table(columns, rows)
    return "<br>".join(render_value(value) for value in values)


def render_pairs(pairs: Mapping[Any, Any]) -> str:
    """Return a two-column HTML table of JSON values."""
    rows = "".join(f'<tr><th scope="row">{html.escape(str(name))}</th><td>{render_value(value)}</td></tr>'
                   for name, value in pairs.items())
    return f'<div class="scroll"><table class="pairs">{rows}</table></div>'


def render_table(columns: list[str], rows: list[list[str]], numeric: bool = False) -> str:
    """Return an HTML table; cells are HTML already, ``numeric`` sets all but the first column to the right."""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    kind = "numbers" if numeric else "rows"
    return (f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")
