"""A thread that ends a reading, and the driver whose reading it ends."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from aquila.engine.calls.prepared_call import ReadInterrupter


def test_the_reading_thread_waits_until_another_thread_has_closed_the_answer() -> None:
    """Else a recording would be stored after the cassette of the call is closed, or never."""
    closing, left = threading.Event(), threading.Event()
    went_on: list[bool] = []

    def close() -> None:
        closing.set()
        went_on.append(left.wait(0.3))  # would be set by then if the driver did not wait

    interrupter = ReadInterrupter()
    stream = SimpleNamespace(
        response=SimpleNamespace(is_closed=False, close=close, extensions={}, request=SimpleNamespace(extensions={}))
    )
    closer = threading.Thread(target=interrupter.interrupt)
    with interrupter.watch_reading(stream, None):
        closer.start()
        assert closing.wait(60)
    left.set()
    closer.join()
    assert went_on == [False]


def test_an_interrupt_from_within_close_does_not_deadlock() -> None:
    interrupter = ReadInterrupter()

    def close() -> None:
        if not stream.response.is_closed:
            stream.response.is_closed = True
            interrupter.interrupt()  # as a signal handler may in the midst of it

    stream = SimpleNamespace(
        response=SimpleNamespace(is_closed=False, close=close, extensions={}, request=SimpleNamespace(extensions={}))
    )
    with interrupter.watch_reading(stream, None):
        interrupter.interrupt()
    assert stream.response.is_closed
