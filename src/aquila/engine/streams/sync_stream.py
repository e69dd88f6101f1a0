"""Synchronous streams: the caller reads the events of a running call, or waits for its result."""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Any, Generic, Self

from aquila.engine.calls.call_plan import CallPlan, plan_conversation, prepare_call
from aquila.engine.calls.prepared_call import PreparedCall
from aquila.engine.streams.drivers import drive_call
from aquila.errors import StreamClosed, StreamConsumed, StreamError, StreamTimeout
from aquila.events import Done, Event, Failed
from aquila.response import ParsedT_co, Response
from aquila.sinks import Sink, caller_left, deliver_event, notify_failure


class StreamState(Generic[ParsedT_co]):
    """The state of a stream, for synchronous and asynchronous streams alike.

    The reader of the events sets ``response`` or ``error``, once; ``close`` sets ``closed``. Nothing is ever cleared.
    """

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self.response: Response[ParsedT_co] | None = None
        self.error: BaseException | None = None
        self.closed = False
        self.reader = ""
        """Who reads the events, as part of the error message for a second reader; empty while nobody does."""

    def claim_events(self, reader: str) -> None:
        """Note who reads the events. Raises ``StreamClosed``, or ``StreamConsumed`` if there is a reader already."""
        if self.closed:
            raise StreamClosed(f"stream {self.ref} was closed; make a new one with stream()")
        if self.reader:
            raise StreamConsumed(f"stream {self.ref} can be read once, and {self.reader}; make a new one with stream()")
        self.reader = reader

    def second_reader_error(self) -> StreamConsumed:
        """Return the error of a reader that comes while another thread or task waits for the next event."""
        return StreamConsumed(
            f"stream {self.ref} is being read by another thread or task; read `response` once that one is done"
        )

    def response_or_error(self) -> Response[ParsedT_co]:
        """Return the response. Raises the error of the call, ``StreamClosed``, or ``StreamError`` before the end."""
        if self.response is not None:
            return self.response
        if self.error is not None:
            raise self.error
        if self.closed:
            raise StreamClosed(f"stream {self.ref} was closed before its end, so it has no response")
        raise StreamError(f"stream {self.ref} is not complete; read it to its end, or call result()")

    def status_word(self) -> str:
        """Return the state as one word."""
        if self.response is not None:
            return "complete"
        return "failed" if self.error is not None else "closed" if self.closed else "open"

    def timeout_error(self, timeout: float | None) -> StreamTimeout:
        """Return the error of a wait that took longer than ``timeout`` seconds."""
        return StreamTimeout(
            f"stream {self.ref}: no result within {timeout:g} s; the call goes on, call result() again"
        )


class Stream(Generic[ParsedT_co]):
    """A running call. Iterate it for its events, once; or wait for its ``result``.

    The request is sent when the first event is asked for; with ``sink=`` at once, on a background thread that pushes
    the events into the sink. As a context manager it is closed at the end of the block, and the connection with it.

    Examples:
        >>> with aquila.stream("How do eagles fly so far?") as stream:
        ...     pieces = [event.text for event in stream if isinstance(event, aquila.Chunk)]
        >>> pieces[:2], stream.response.text
        (['Eagles ', 'circle '], 'Eagles circle in rising warm air.')
    """

    def __init__(self, call: PreparedCall) -> None:
        self._call = call
        self._state: StreamState[ParsedT_co] = StreamState(call.plan.ref)
        self._events = drive_call(call)
        self._finished = False
        self._thread: threading.Thread | None = None
        # A generator that is collected ends the call, unless its first event was never asked for. Until then this
        # closes the route. It refers to the route alone, because the call may refer to this stream, as by its sink.
        self._route_closer = weakref.finalize(self, call.route.close) if call.route.is_one_call else None
        sink = call.plan.options.sink
        if sink is not None:
            self._state.claim_events("its events go to its sink")
            self._start_pushing(sink)

    @property
    def ref(self) -> str:
        """The call's unique reference; every event carries it."""
        return self._state.ref

    @property
    def response(self) -> Response[ParsedT_co]:
        """The complete answer. Raises ``StreamError`` before the end, and what the call failed with."""
        return self._state.response_or_error()

    @property
    def _plan(self) -> CallPlan:
        return self._call.plan

    def _replan(self, plan: CallPlan) -> None:
        """Replace the plan, on the same route. Only before the first event is asked for, when nothing has been sent."""
        self._call = plan.bind_to_route(self._call.route)
        self._events = drive_call(self._call)

    def __iter__(self) -> Iterator[Event]:
        """Yield the events. Raises ``StreamConsumed`` the second time, ``StreamClosed`` after close."""
        self._state.claim_events("it is being iterated or has been")
        return self._iterate_events()

    def _iterate_events(self) -> Iterator[Event]:
        while True:
            try:
                event = self._next_event()
            except StopIteration:
                return
            yield event

    def _begin_call(self) -> None:
        """Leave it to the driver of the call to close the route."""
        if self._route_closer is not None:
            self._route_closer.detach()
            self._route_closer = None

    def _next_event(self) -> Event:
        self._begin_call()
        try:
            event = next(self._events)
        except StopIteration:
            self._finished = True
            if self._state.closed and self._state.response is None:
                raise StreamClosed(f"stream {self.ref} was closed while it was read") from None
            raise
        except BaseException as error:
            if _is_read_elsewhere(error):
                raise self._state.second_reader_error() from None
            self._state.error = error
            self._finished = True
            raise
        if type(event) is Done:
            self._state.response = event.response
        return event

    def result(self, timeout: float | None = None) -> Response[ParsedT_co]:
        """Return the complete answer; events that nobody has read yet are dropped.

        ``timeout`` is the longest wait in seconds. Raises ``StreamTimeout`` after it, and the stream goes on:
        ``result`` may be called again. Raises what the call failed with.
        """
        if self._thread is None and not self._finished and not self._state.closed:
            self._state.reader = "its result was asked for"
            if timeout is None:
                for _ in self._iterate_events():
                    pass
            else:
                self._start_pushing(Sink.ignore())
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise self._state.timeout_error(timeout)
        return self._state.response_or_error()

    def close(self) -> None:
        """End the call and close its connection. Does nothing after its end.

        A thread that iterates the stream gets ``StreamClosed``: at once if the answer has begun, else when it begins or
        when ``Timeouts.read`` is over. With a sink, ``close`` waits for that, unless the sink or a tool has called it.
        """
        if self._finished:
            self._state.closed = True
            return
        self._state.closed = True
        self._begin_call()
        if self._thread is None:
            try:
                self._events.close()
            except ValueError as error:
                if not _is_read_elsewhere(error):  # what the end of the call raises, such as its recording
                    raise
                self._call.interrupter.interrupt()
                return
            self._call.route.close()
            self._finished = True
        elif self._thread is not threading.current_thread():
            self._call.interrupter.interrupt()
            if caller_left.get() != self._has_left:  # else a tool is on a thread of its own, for which that one waits
                self._thread.join()

    def _has_left(self) -> bool:
        return self._state.closed

    def _start_pushing(self, sink: Sink) -> None:
        self._begin_call()
        # A new thread begins with an empty context; the copy holds the open cassette and the settings in force.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._push_events, sink), name=f"aquila-{self.ref}", daemon=True
        )
        thread.start()
        self._thread = thread  # not before: who closes the stream meanwhile could not wait for it

    def _push_events(self, sink: Sink) -> None:
        """Read to the end and pass every event to the sink. Runs on the background thread."""
        self._thread = threading.current_thread()
        caller_left.set(self._has_left)
        is_reader = True
        try:
            for event in self._events:
                if self._state.closed:
                    break
                _push_event(self._events, sink, event)
                if type(event) is Done:
                    self._state.response = event.response
        except StreamClosed:
            pass  # close() ended the wait for the provider or for the sink
        except BaseException as error:  # noqa: BLE001 - it is raised by result()
            if _is_read_elsewhere(error):
                is_reader = False  # that thread goes on, and ends the call
                self._state.error = self._state.second_reader_error()
                return
            self._state.error = error
            notify_failure(sink, Failed(error, ref=self.ref, metadata=self._call.plan.options.metadata))
        finally:
            if is_reader:
                self._events.close()
                self._finished = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream {self.ref} {self._state.status_word()}>"


def _is_read_elsewhere(error: BaseException) -> bool:
    """Whether a generator has raised ``error`` because another thread waits in it for the next event."""
    return isinstance(error, ValueError) and str(error) == "generator already executing"


def open_stream(prompt: Any, options: dict[str, Any]) -> Stream:
    """Return the stream of a prompt; ``options`` are the caller's, by name.

    Raises ``ConfigError`` or ``MissingKey``.
    """
    return Stream(prepare_call(plan_conversation(prompt, options, streams=True)))


def _push_event(events: Generator[Event, None, None], sink: Sink, event: Event) -> None:
    """Give an event to a sink. If that fails, the call that ``events`` drive fails with the same error."""
    try:
        deliver_event(sink, event)
    except BaseException as error:
        events.throw(error)  # closing it later would tell the call that its caller had left
        raise


def run_call(plan: CallPlan) -> Any:
    """Make the call of a plan and return its result; its sink gets the events as they arrive."""
    call = prepare_call(plan)
    sink = plan.options.sink
    events = drive_call(call, is_read=sink is not None)
    try:
        for event in events:
            if sink is not None:
                _push_event(events, sink, event)
    except BaseException as error:
        if sink is not None:
            notify_failure(sink, Failed(error, ref=plan.ref, metadata=plan.options.metadata))
        raise
    finally:
        events.close()
    return call.loop.result
