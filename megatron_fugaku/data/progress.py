"""Progress for people: a bar on a terminal, plain lines with times elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

LINE_INTERVAL_S = 5.0


class Progress:
    """Tells what goes on. ``stream`` is standard error; standard output is left to results."""

    def __init__(self, stream=None, quiet: bool = False):
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self._bar = None
        self._start_s = time.monotonic()
        if not quiet and self.stream.isatty():
            try:
                from rich.console import Console
                from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
            except ImportError:
                return
            self._bar = Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeElapsedColumn(),
                console=Console(file=self.stream),
            )

    def say(self, text: str) -> None:
        """One line."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(f"[{time.monotonic() - self._start_s:6.1f} s] {text}", file=self.stream, flush=True)

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Ticker]:
        """Count ``total`` steps of ``title``; None where the number is not known."""
        ticker = Ticker(self, title, total, unit)
        if self._bar is not None:
            self._bar.start()
            ticker.bar_id = self._bar.add_task(title, total=total, unit=unit)
        else:
            self.say(f"{title}: {'' if total is None else f'{total:,} '}{unit}")
        try:
            yield ticker
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar.remove_task(ticker.bar_id)
            else:
                ticker.write_line(final=True)


class Ticker:
    """Counter of one task; call :meth:`advance` as often as you like."""

    def __init__(self, progress: Progress, title: str, total: int | None, unit: str):
        self._progress, self._title, self._total, self._unit = progress, title, total, unit
        self.bar_id = None
        self.count = 0
        self._last_s = self._start_s = time.monotonic()

    def advance(self, steps: int) -> None:
        """Count ``steps`` more."""
        self.count += steps
        if self.bar_id is not None:
            self._progress._bar.update(self.bar_id, completed=self.count)
        elif time.monotonic() - self._last_s > LINE_INTERVAL_S:
            self.write_line(final=False)

    def write_line(self, final: bool) -> None:
        """One plain line: how far, after how long."""
        self._last_s = time.monotonic()
        of_total = "" if self._total is None else f" of {self._total:,}"
        state = "ended at" if final else "at"
        self._progress.say(
            f"{self._title}: {state} {self.count:,}{of_total} {self._unit} after {self._last_s - self._start_s:.1f} s"
        )
