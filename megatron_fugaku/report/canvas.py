"""From a matplotlib figure to an SVG that can stand inside a page: themed, deterministic, its ids its own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from megatron_fugaku.errors import EnvironmentError
from megatron_fugaku.report.palette import stand_in, themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(name: str, width_in: float, height_in: float, paint: Callable[[Figure], None]) -> str:
    """Let ``paint`` fill a figure and return it as an ``<svg>`` element that scales to its container.

    The same figure gives the same text. ``name`` goes in front of every id, so that figures share one page.

    Raises:
        EnvironmentError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EnvironmentError("matplotlib is not installed", "it draws the pictures of the report",
                               "pip install 'megatron-fugaku[login]'", "mfugaku report") from error
    ink, muted = stand_in("ink"), stand_in("muted")
    style = {
        "svg.hashsalt": name, "svg.fonttype": "none", "font.family": ["sans-serif"], "font.size": 10.0,
        "text.color": ink, "axes.labelcolor": muted, "axes.edgecolor": muted, "xtick.color": muted,
        "ytick.color": muted, "xtick.labelsize": 9.0, "ytick.labelsize": 9.0, "axes.labelsize": 9.5,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
        "axes.grid": True, "grid.color": stand_in("grid"), "grid.linewidth": 0.7, "axes.axisbelow": True,
        "legend.frameon": False, "legend.fontsize": 9.0, "lines.solid_capstyle": "round",
        "axes.formatter.useoffset": False, "path.simplify": True, "axes.unicode_minus": True,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None,
                                                                         "Format": None, "Type": None})
    return themed(_embeddable(buffer.getvalue(), name))


def _embeddable(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return svg.strip()
