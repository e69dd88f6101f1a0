"""The two drivers of a loop. They perform its steps, which is all I/O of a call, and decide nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

import anyio

from aquila.engine.calls.call_plan import CallPlan, prepare_call_async
from aquila.engine.calls.error_translation import PROTOCOL_ERRORS, error_of_protocol
from aquila.engine.calls.prepared_call import PreparedCall
from aquila.engine.loop import tool_execution
from aquila.engine.loop.steps import EmitEvents, GetReady, RequestOutcome, RunTools, SendRequest, Sleep, Step
from aquila.engine.loop.tool_execution import ToolOutcome
from aquila.errors import StreamClosed
from aquila.events import Event
from aquila.lazy_imports import lazy_modules
from aquila.recording.replayed_time_limits import ENDED

if TYPE_CHECKING:
    import threading

    from aquila.engine.streams import socket_exchange
else:
    lazy_modules(globals(), "aquila.engine.streams: socket_exchange")


_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""What a stream of server-sent events may begin with."""


def drive_call(call: PreparedCall, *, is_read: bool = True) -> Generator[Event, None, None]:
    """Make the call and yield its events; none if nobody reads them, as ``is_read`` says.

    Closing the generator ends the call. Raises the error with which the call fails, and ``StreamClosed`` after
    ``call.interrupter.interrupt()``.
    """
    sockets = socket_exchange.SocketExchange(call) if call.plan.options.websocket else None
    driving = _Driving(call, is_read, left_by=(GeneratorExit, StreamClosed))
    try:
        with driving:
            for step in driving:
                match step:
                    case EmitEvents(events):
                        yield from events
                    case Sleep(seconds):
                        call.interrupter.sleep(call.limit_to_total(seconds))
                    case GetReady(sending):
                        call.get_ready(sending)
                    case SendRequest():
                        exchange = sockets if sockets and step.over_socket else _SyncExchange(call, is_read)
                        yield from exchange.exchange_request(step)
                        driving.outcome = exchange.outcome
                    case RunTools(ready):
                        driving.outcome = tool_execution.run_tools(ready, call.within_total)
                        call.raise_if_overdue()
    finally:
        try:
            if sockets is not None:
                sockets.close()
        finally:
            if call.route.is_one_call:  # as close() asks, too, but most calls need not go there
                call.route.close(failed=driving.failed)


class _Driving:
    """The steps of a call. Iterate them within its ``with`` block, which reports how the call ends.

    ``outcome``: what the driver reports of the last step. ``is_read``: somebody reads the events. ``left_by``: the
    errors that mean that the caller leaves before the end. ``failed``: the call has failed with another error, or has
    not ended yet.
    """

    def __init__(self, call: PreparedCall, is_read: bool, left_by: tuple[type[BaseException], ...]) -> None:
        self._call = call
        self._steps = call.loop.steps()
        self._is_read = is_read
        self._left_by = left_by
        self.outcome: RequestOutcome | list[ToolOutcome] | None = None
        self.failed = True

    def __iter__(self) -> Iterator[Step]:
        while True:
            if self._call.interrupter.interrupted:
                raise _stream_closed_error(self._call)
            outcome, self.outcome = self.outcome, None
            try:
                step = self._steps.send(outcome)
            except StopIteration:
                return
            if self._is_read or type(step) is not EmitEvents:
                yield step

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.failed = error is not None and not isinstance(error, self._left_by)
        if self.failed:
            self._call.telemetry.report_end(error=error)
        else:
            self._call.telemetry.report_end(self._call.loop.result)  # None if the caller has left


class _HttpExchange:
    """One request of a driver, without its I/O. ``outcome`` says how it ended."""

    def __init__(self, call: PreparedCall, is_read: bool) -> None:
        self._call = call
        self._is_read = is_read
        self._read_chunk: Callable[[Any], Sequence[Event]] = self._parse_and_report
        self._stream: Any = None  # the answer as the SDK gives it, None without one that is to be read
        self._body: bytes | None = None
        self.outcome = RequestOutcome()

    @contextmanager
    def _sending(self, step: SendRequest) -> Iterator[None]:
        """Run the block that sends the request and sets ``_stream``.

        If the block fails, or the answer is not streamed, ``outcome`` is set and ``_stream`` is None.
        """
        call = self._call
        try:
            yield
            if step.unstreamed:
                answer, self._stream = self._stream, None
                self.outcome = RequestOutcome(None, True, answer.headers, answer.content)
            elif not call.telemetry.has_chunk_listeners:
                self._read_chunk = call.loop.parser.feed
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            call.end_if_overdue(error)
            response = getattr(error, "response", None)
            self.outcome = RequestOutcome(error, False, {} if response is None else response.headers)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Run the block that reads the answer, as events or into ``_body``. Sets ``outcome``, also if it fails."""
        call, headers = self._call, self._stream.response.headers
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            if call.interrupter.interrupted:
                raise _stream_closed_error(call) from None
            if isinstance(error, PROTOCOL_ERRORS):
                error = error_of_protocol(error, call.error_context, call.plan.endpoint.name)
            else:
                call.end_if_overdue(error)
            self.outcome = RequestOutcome(error, True, headers)
        else:
            self.outcome = RequestOutcome(None, True, headers, self._body)

    def _keep_document(self, body: bytes) -> None:
        """Keep the whole body of an answer, unless it is a stream after all, sent as ``text/html``, as Flask does."""
        if not body.lstrip().startswith(_BEGINNINGS):
            self._body = body

    def _parse_and_report(self, chunk: Any) -> Sequence[Event]:
        events = self._call.loop.parser.feed(chunk)
        for event in events:
            self._call.telemetry.report_event(event)
        return events


class _SyncExchange(_HttpExchange):
    """One request of the synchronous driver."""

    def exchange_request(self, step: SendRequest) -> Generator[Event, None, None]:
        call = self._call
        with self._sending(step):
            self._stream = call.send_request(step)
        if (stream := self._stream) is None:
            return
        try:
            with self._reading(), call.interrupter.watch_reading(stream, call.remaining_seconds()):
                if not call.limit_reads_if_stream(stream):
                    self._keep_document(stream.response.read())
                if self._body is None:
                    for chunk in stream:
                        events = self._read_chunk(chunk)
                        yield from events if self._is_read else ()
                call.raise_if_overdue()
        finally:
            stream.close()


def _stream_closed_error(call: PreparedCall) -> StreamClosed:
    return StreamClosed(f"stream {call.plan.ref} was closed before its end")


async def drive_call_async(
    made: CallPlan | PreparedCall, *, is_read: bool = True, was_ended: threading.Event | None = None
) -> AsyncGenerator[Event, None]:
    """``drive_call`` for asynchronous calls.

    The route of a plan is resolved first, on a thread, as it may read files. ``was_ended`` is set once a task
    other than the reader's has ended the call.
    """
    call = await prepare_call_async(made) if isinstance(made, CallPlan) else made
    sockets = socket_exchange.AsyncSocketExchange(call) if call.plan.options.websocket else None
    driving = _Driving(call, is_read, left_by=(GeneratorExit, anyio.get_cancelled_exc_class()))
    try:
        with driving:
            for step in driving:
                match step:
                    case EmitEvents(events):
                        for event in events:
                            yield event
                    case Sleep(seconds):
                        await anyio.sleep(call.limit_to_total(seconds))
                    case GetReady(sending):
                        await call.get_ready_async(sending)
                    case SendRequest():
                        exchange = sockets if sockets and step.over_socket else _AsyncExchange(call, is_read, was_ended)
                        # Closed here rather than by the garbage collector, whose closing the end of the event loop may
                        # cut short.
                        async with aclosing(exchange.exchange_request(step)) as arriving:
                            async for event in arriving:
                                yield event
                        driving.outcome = exchange.outcome
                    case RunTools(ready):
                        driving.outcome = await call.within_total(tool_execution.run_tools_async(ready))
    finally:
        try:
            if sockets is not None:
                await sockets.close()
        finally:
            await call.route.close_async(failed=driving.failed)


class _AsyncExchange(_HttpExchange):
    """One request of the asynchronous driver. ``was_ended`` is that of ``drive_call_async``."""

    def __init__(self, call: PreparedCall, is_read: bool, was_ended: threading.Event | None) -> None:
        super().__init__(call, is_read)
        self._was_ended = was_ended

    async def exchange_request(self, step: SendRequest) -> AsyncGenerator[Event, None]:
        call = self._call
        with self._sending(step):
            self._stream = await call.send_request_async(step)
        if (stream := self._stream) is None:
            return
        try:
            with self._reading():
                if not call.limit_reads_if_stream(stream):
                    self._keep_document(await call.within_total(stream.response.aread()))
                if self._body is None:
                    async for chunk in stream if call.deadline is None else _each_within_total(call, stream):
                        events = self._read_chunk(chunk)
                        for event in events if self._is_read else ():
                            yield event
        finally:
            if self._was_ended is not None and self._was_ended.is_set():
                stream.response.request.extensions[ENDED] = True
            with anyio.CancelScope(shield=True):  # a cancelled call must still close its connection
                await stream.close()


async def _each_within_total(call: PreparedCall, stream: Any) -> AsyncGenerator[Any, None]:
    chunks = aiter(stream)
    while True:
        call.raise_if_overdue()
        try:
            chunk = await call.within_total(anext(chunks))
        except StopAsyncIteration:
            return
        yield chunk
