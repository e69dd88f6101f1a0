"""Sinks: where a call pushes its events, instead of the caller pulling them.

A sink is handed the events one at a time by whoever reads the stream. So a slow sink slows the reader, and through it
the provider; nothing piles up in between.
"""

from __future__ import annotations

import inspect
import queue
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aquila.errors import ConfigError, SinkError, StreamClosed
from aquila.events import Chunk, Done, Event, Failed
from aquila.lazy_imports import lazy_modules
from aquila.response import Response

if TYPE_CHECKING:
    from anyio import to_thread
else:
    lazy_modules(globals(), to_thread="anyio.to_thread")

caller_left: ContextVar[Callable[[], bool]] = ContextVar("aquila_left", default=lambda: False)
"""Whether the caller has closed the stream whose events are being pushed. Set by each pushing thread, in its context.

A full queue is then given up: nobody may be left who empties it.
"""

_PUT_TIMEOUT = 0.05
"""Seconds between two looks at whether the caller has left, while a queue is full."""


class Sink:
    """Base of every sink; its static methods build the usual ones. A sink of your own overrides ``emit``."""

    @staticmethod
    def queue(target: Any) -> Sink:
        """Put every event into ``target``: a ``queue.Queue`` or anything with its ``put``, or an ``asyncio.Queue``.

        A full queue holds the stream back until there is room.
        """
        return _QueueSink(target)

    @staticmethod
    def callback(function: Callable[[Event], Any]) -> Sink:
        """Call ``function(event)`` for every event. With ``aask`` and ``astream`` it may be a coroutine function."""
        return _CallbackSink(function)

    @staticmethod
    def collector() -> Collector:
        """Keep every event in a list."""
        return Collector()

    @staticmethod
    def ignore() -> Sink:
        """Drop every event; the call runs to its end for its result."""
        return Sink()

    @staticmethod
    def tee(*sinks: Sink) -> Sink:
        """Hand every event to each of ``sinks`` in turn. If one raises, the others still learn that the call failed."""
        return _TeeSink(tuple(map(sink_of, sinks)))

    def emit(self, event: Event) -> None:
        """Take one event. May block: that holds the stream back."""

    async def aemit(self, event: Event) -> None:
        """Take one event of an asynchronous call."""
        self.emit(event)

    def working_sinks(self) -> tuple[Sink, ...]:
        """The sinks below this one that have not raised; they are told when the call fails because of another."""
        return ()


def sink_of(value: Any) -> Sink:
    """Return ``value`` if it is a sink. Raises ``ConfigError`` that names the ways to build one."""
    if isinstance(value, Sink):
        return value
    ways = "Sink.queue(q), Sink.callback(f), Sink.collector(), Sink.ignore() or Sink.tee(a, b)"
    raise ConfigError(f"a sink is built with {ways}, not {type(value).__name__}")


class Collector(Sink):
    """Keeps every event. ``events`` is the list of them, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Append the event."""
        self.events.append(event)

    @property
    def text(self) -> str:
        """The text that has arrived so far, of all turns."""
        return "".join(event.text for event in list(self.events) if type(event) is Chunk)

    @property
    def response(self) -> Response | None:
        """The complete answer, or None before it is complete."""
        return next((event.response for event in reversed(self.events) if isinstance(event, Done)), None)

    @property
    def error(self) -> BaseException | None:
        """What made the call fail, or None."""
        return next((event.error for event in reversed(self.events) if isinstance(event, Failed)), None)


class _QueueSink(Sink):
    def __init__(self, target: Any) -> None:
        if not callable(getattr(target, "put", None)):
            raise ConfigError(
                f"Sink.queue() needs an object with put(), such as queue.Queue, not {type(target).__name__}"
            )
        self._target = target
        self._asynchronous = inspect.iscoroutinefunction(target.put)
        self._bounded = callable(getattr(target, "put_nowait", None))  # the interface of queue.Queue

    def emit(self, event: Event) -> None:
        if self._asynchronous:
            raise ConfigError("an asyncio.Queue works with aask() and astream(); here use a queue.Queue")
        if not self._bounded:
            self._target.put(event)
            return
        while not self._put_for_a_moment(event):
            if caller_left.get()():
                raise StreamClosed("the stream was closed while its queue was full")

    def _put_for_a_moment(self, event: Event) -> bool:
        try:
            self._target.put(event, timeout=_PUT_TIMEOUT)
        except queue.Full:
            return False
        return True

    async def aemit(self, event: Event) -> None:
        if self._asynchronous:
            await self._target.put(event)
            return
        # A blocking put must not hold up the event loop.
        if not self._bounded:
            await to_thread.run_sync(self._target.put, event)
            return
        try:
            self._target.put_nowait(event)
        except queue.Full:
            while not await to_thread.run_sync(
                self._put_for_a_moment, event
            ):  # for a moment each: a cancelled call leaves no thread behind
                pass


class _CallbackSink(Sink):
    def __init__(self, function: Callable[[Event], Any]) -> None:
        if not callable(function):
            raise ConfigError(f"Sink.callback() needs a function, not {type(function).__name__}")
        self._function = function
        self._asynchronous = inspect.iscoroutinefunction(function)

    def emit(self, event: Event) -> None:
        if self._asynchronous:
            raise ConfigError("a coroutine function works with aask() and astream(); here use a plain function")
        self._function(event)

    async def aemit(self, event: Event) -> None:
        result = self._function(event)
        if inspect.isawaitable(result):
            await result


class _TeeSink(Sink):
    def __init__(self, sinks: tuple[Sink, ...]) -> None:
        self._healthy = list(sinks)

    def emit(self, event: Event) -> None:
        for sink in tuple(self._healthy):
            try:
                sink.emit(event)
            except BaseException:
                self._healthy.remove(sink)
                raise

    async def aemit(self, event: Event) -> None:
        for sink in tuple(self._healthy):
            try:
                await sink.aemit(event)
            except BaseException:
                self._healthy.remove(sink)
                raise

    def working_sinks(self) -> tuple[Sink, ...]:
        return tuple(self._healthy)


def deliver_event(sink: Sink, event: Event) -> None:
    """Hand one event to a sink. Raises ``SinkError`` from what the sink raises."""
    try:
        sink.emit(event)
    except Exception as error:  # whatever a sink raises is translated, not hidden
        if isinstance(error, StreamClosed) and caller_left.get()():
            raise
        raise _sink_error(sink, event, error) from error


async def deliver_event_async(sink: Sink, event: Event) -> None:
    """``deliver_event`` for asynchronous calls."""
    try:
        await sink.aemit(event)
    except Exception as error:
        raise _sink_error(sink, event, error) from error


def _sink_error(sink: Sink, event: Event, error: Exception) -> SinkError:
    return SinkError(f"the sink raised {type(error).__name__} on {type(event).__name__}; the call was ended")


def notify_failure(sink: Sink, event: Failed) -> None:
    """Tell a sink that the call failed: the sink itself, or what is left of it if it was the sink that failed.

    Never raises: the failure that is being reported comes first.
    """
    for each in _recipients_of_failure(sink, event):
        try:
            each.emit(event)
        except Exception:  # noqa: BLE001 - a second failure must not hide the first
            continue


async def notify_failure_async(sink: Sink, event: Failed) -> None:
    """``notify_failure`` for asynchronous calls."""
    for each in _recipients_of_failure(sink, event):
        try:
            await each.aemit(event)
        except Exception:  # noqa: BLE001 - a second failure must not hide the first
            continue


def _recipients_of_failure(sink: Sink, event: Failed) -> tuple[Sink, ...]:
    return sink.working_sinks() if isinstance(event.error, SinkError) else (sink,)
