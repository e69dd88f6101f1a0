"""Sinks: receivers to which a call pushes its events, so that the caller need not iterate over them.

The thread or task that reads the stream gives the sink one event at a time. A slow sink therefore slows the reader, and
the reader slows the provider; nothing piles up in between.
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
    lazy_modules(globals(), "anyio: to_thread")

caller_left: ContextVar[Callable[[], bool]] = ContextVar("aquila_left", default=lambda: False)
"""Returns whether the caller has closed the stream whose events are being pushed.

Each pushing thread sets it in its own context, so it ends with the thread. After the caller has left, a full queue is
given up, because perhaps nothing empties it any more.
"""

_PUT_TIMEOUT = 0.05
"""How many seconds a sink waits for room in a full queue before it calls ``caller_left`` again."""


class Sink:
    """Base of every sink. Its static methods build the usual ones; your own sink overrides ``emit``."""

    @staticmethod
    def queue(target: Any) -> Sink:
        """Return a sink that puts every event into ``target``.

        ``target`` is a ``queue.Queue``, an ``asyncio.Queue``, or an object with a method ``put``. A full queue holds
        the stream back until there is room. Raises ``ConfigError`` for another object.
        """
        return _QueueSink(target)

    @staticmethod
    def callback(function: Callable[[Event], Any]) -> Sink:
        """Return a sink that calls ``function(event)`` for every event.

        With ``aask`` and ``astream`` it may be a coroutine function. Raises ``ConfigError`` if it is not
        callable.
        """
        return _CallbackSink(function)

    @staticmethod
    def collector() -> Collector:
        """Return a sink that keeps every event in a list."""
        return Collector()

    @staticmethod
    def ignore() -> Sink:
        """Return a sink that drops every event; the call still runs to its end."""
        return Sink()

    @staticmethod
    def tee(*sinks: Sink) -> Sink:
        """Return a sink that gives every event to each of ``sinks`` in turn.

        If one raises, the call fails, and the others receive ``Failed``.
        """
        return _TeeSink(tuple(map(sink_of, sinks)))

    def emit(self, event: Event) -> None:
        """Receive one event. It may block, which holds the stream back."""

    async def aemit(self, event: Event) -> None:
        """Receive one event of an asynchronous call."""
        self.emit(event)

    def working_sinks(self, ref: str) -> tuple[Sink, ...]:
        """Return the members of this sink that did not raise, after one of them raised and ended the call ``ref``."""
        return ()


def sink_of(value: Any) -> Sink:
    """Return ``value`` if it is a sink. Raises ``ConfigError``, which names the ways to build one."""
    if isinstance(value, Sink):
        return value
    ways = "Sink.queue(q), Sink.callback(f), Sink.collector(), Sink.ignore() or Sink.tee(a, b)"
    raise ConfigError(f"a sink is built with {ways}, not {type(value).__name__}")


class Collector(Sink):
    """A sink that keeps every event. ``events`` is the list of the events, in order; it is never cleared.

    Examples:
        >>> kept: aquila.Collector = aquila.Sink.collector()
        >>> reply = aquila.ask("How do eagles fly so far?", sink=kept)
        >>> kept.text == reply.text, kept.response is reply, kept.error
        (True, True, None)
    """

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
        """The exception with which the call failed, or None."""
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
        # A put that may block runs in a thread, so that it does not block the event loop.
        if not self._bounded:
            await to_thread.run_sync(self._target.put, event)
            return
        try:
            self._target.put_nowait(event)
        except queue.Full:
            # Each thread waits only for a moment, so that a cancelled call leaves none behind.
            while not await to_thread.run_sync(self._put_for_a_moment, event):
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
        self.sinks = sinks
        # The sink that raised, by the call that it has ended. Other calls, at the same time or later, still use it.
        self._raised: dict[str, Sink] = {}

    def emit(self, event: Event) -> None:
        for sink in self.sinks:
            try:
                sink.emit(event)
            except Exception as error:
                if not _is_caller_gone(error):
                    self._raised[event.ref] = sink
                raise

    async def aemit(self, event: Event) -> None:
        for sink in self.sinks:
            try:
                await sink.aemit(event)
            except Exception as error:
                if not _is_caller_gone(error):
                    self._raised[event.ref] = sink
                raise

    def working_sinks(self, ref: str) -> tuple[Sink, ...]:
        raised = self._raised.pop(ref, None)
        below = raised.working_sinks(ref) if raised is not None else ()
        return (*(part for sink in self.sinks if sink is not raised for part in _parts_of(sink)), *below)


def _parts_of(sink: Sink) -> tuple[Sink, ...]:
    """Return the sinks to notify of a failure: the members of a tee one by one, because each of them may raise."""
    return tuple(part for each in sink.sinks for part in _parts_of(each)) if isinstance(sink, _TeeSink) else (sink,)


def _is_caller_gone(error: Exception) -> bool:
    """Whether an error means that the caller closed the stream. Then no sink failed; one gave up its full queue."""
    return isinstance(error, StreamClosed) and caller_left.get()()


def deliver_event(sink: Sink, event: Event) -> None:
    """Give one event to a sink. Raises ``SinkError`` with the sink's exception as its cause."""
    try:
        sink.emit(event)
    except Exception as error:  # whatever a sink raises is translated, not hidden
        if _is_caller_gone(error):
            raise
        raise _sink_error(event, error) from error


async def deliver_event_async(sink: Sink, event: Event) -> None:
    """``deliver_event`` for asynchronous calls."""
    try:
        await sink.aemit(event)
    except Exception as error:
        raise _sink_error(event, error) from error


def _sink_error(event: Event, error: Exception) -> SinkError:
    return SinkError(f"the sink raised {type(error).__name__} on {type(event).__name__}; the call was ended")


def notify_failure(sink: Sink, event: Failed) -> None:
    """Tell a sink that the call failed. If the sink itself failed, only its parts that still work are told.

    It raises nothing, so that the failure that is being reported is not hidden.
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
    return sink.working_sinks(event.ref) if isinstance(event.error, SinkError) else _parts_of(sink)
