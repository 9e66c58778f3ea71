"""A figure in a file, for ``--plot`` of any benchmark."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_fugaku.errors import EnvironmentError


@contextlib.contextmanager
def figure_into(path: Path, num_rows: int, num_columns: int, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Yield a matplotlib figure and its panels [num_rows, num_columns]; then write it to ``path``, whose ending chooses
    the format.

    Args:
        options: as ``matplotlib.pyplot.subplots`` takes them.

    Raises:
        EnvironmentError: matplotlib is missing, or the file cannot be written.
    """
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise EnvironmentError("matplotlib is not installed", "the figure cannot be drawn",
                               "pip install 'megatron-fugaku[login]', or leave out --plot", "--plot") from error
    figure, panels = pyplot.subplots(num_rows, num_columns, squeeze=False, layout="constrained", **options)
    try:
        yield figure, panels
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise EnvironmentError(f"{path} cannot be written: {error}", "the figure is lost",
                                   "choose another path, ending in .svg, .pdf or .png", "--plot") from error
    finally:
        pyplot.close(figure)
