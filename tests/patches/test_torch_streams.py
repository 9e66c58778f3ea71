"""Streams and events of a CPU: everything is done in the order in which it is called."""

from __future__ import annotations

import time

import pytest

from megatron_fugaku.patches.torch_streams import (
    HostEvent,
    HostStream,
    build_current_stream,
    build_stream_context,
)


def test_events_take_times():
    start, end = HostEvent(enable_timing=True), HostEvent(enable_timing=True)
    with pytest.raises(RuntimeError, match="recorded"):
        start.elapsed_time(end)
    start.record()
    time.sleep(0.02)
    end.record(HostStream())
    assert 20 <= start.elapsed_time(end) < 2000
    assert end.query()
    assert start.synchronize() is end.wait() is None


def test_streams_order_nothing_because_everything_is_in_order():
    current = build_current_stream(None)
    stream = HostStream(device="cuda", priority=-1)
    assert current() is current("cuda:0")
    assert stream.device.type == "cpu"
    stream.wait_stream(current())
    event = stream.record_event()
    stream.wait_event(event)
    assert stream.record_event(event) is event
    assert stream.query()
    done = []
    context = build_stream_context(None)(stream)
    with context, stream as entered:
        done.append(entered)
    with context:  # Megatron enters one again and again
        done.append(entered)
    assert done == [stream] * 2


def test_an_exception_passes_through_a_stream():
    with pytest.raises(ZeroDivisionError), build_stream_context(None)(HostStream()):
        raise ZeroDivisionError
