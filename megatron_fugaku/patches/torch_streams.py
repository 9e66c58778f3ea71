"""Streams and events of ``torch.cuda`` on a CPU, where everything is done in the order in which it is called."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from megatron_fugaku.patches.cuda_names import CPU


class HostEvent:
    """A moment of the host's clock. All that was called before it is done."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False):
        self._recorded_s: float | None = None

    def record(self, stream: Any = None) -> None:
        """Take the time."""
        self._recorded_s = time.perf_counter()

    def elapsed_time(self, end_event: HostEvent) -> float:
        """Milliseconds from this event to another one.

        Raises:
            RuntimeError: one of the two was not recorded.
        """
        if self._recorded_s is None or end_event._recorded_s is None:
            raise RuntimeError("both events must be recorded before the time between them is asked for")
        return 1e3 * (end_event._recorded_s - self._recorded_s)

    def query(self) -> bool:
        """Whether all before it is done: always."""
        return True

    def wait(self, stream: Any = None) -> None:
        """There is nothing to wait for."""

    def synchronize(self) -> None:
        """There is nothing to wait for."""


class HostStream:
    """The one order of execution that a CPU has."""

    device = CPU
    cuda_stream = 0

    def __init__(self, device: Any = None, priority: int = 0, **kwargs: Any):
        self.priority = priority

    def wait_stream(self, stream: Any) -> None:
        """There is nothing to wait for."""

    def wait_event(self, event: Any) -> None:
        """There is nothing to wait for."""

    def record_event(self, event: HostEvent | None = None) -> HostEvent:
        """Record an event, a new one unless it is given."""
        event = HostEvent() if event is None else event
        event.record(self)
        return event

    def query(self) -> bool:
        """Whether all that was called is done: always."""
        return True

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def __enter__(self) -> HostStream:
        return self

    def __exit__(self, *exception: Any) -> None:
        return None


_ONLY_STREAM = HostStream()


def build_stream_class(original: type) -> type:
    """Return the class of streams of a CPU."""
    return HostStream


def build_event_class(original: type) -> type:
    """Return the class of events of a CPU."""
    return HostEvent


def build_current_stream(original: Callable) -> Callable:
    """Return a function that answers the only stream."""

    def current_stream(device: Any = None) -> HostStream:
        """The order in which this process calls."""
        return _ONLY_STREAM

    return current_stream


def build_stream_context(original: Callable) -> Callable:
    """Return a context that changes nothing: work inside it is done where it is called."""

    def stream(stream: Any) -> contextlib.AbstractContextManager[None]:
        """Run the body as any other code; what it returns can be entered again, as torch's."""
        return contextlib.nullcontext()

    return stream
