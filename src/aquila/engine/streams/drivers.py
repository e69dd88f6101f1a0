"""The two drivers of a loop. They perform its steps, which is all I/O of a call, and decide nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio

from aquila.engine.calls.call_plan import CallPlan, prepare_call_async
from aquila.engine.calls.sdk_client import PreparedCall, is_stream, set_idle_timeout
from aquila.engine.loop import tool_execution
from aquila.engine.loop.steps import EmitEvents, RequestOutcome, RunTools, SendRequest, Sleep
from aquila.engine.loop.tool_execution import ToolOutcome
from aquila.errors import InvalidAnswer, StreamClosed
from aquila.events import Event
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.engine.streams import socket_exchange
else:
    lazy_modules(globals(), socket_exchange="aquila.engine.streams.socket_exchange")

_PROTOCOL_ERRORS = (AttributeError, KeyError, IndexError, TypeError)
"""What is raised while a chunk is read that lacks a field, or has it in another form."""


def drive_call(call: PreparedCall, *, is_read: bool = True) -> Generator[Event, None, None]:
    """Make the call and yield its events, if anybody reads them: ``is_read``. Closing the generator ends the call.

    Raises the error with which the call fails, and ``StreamClosed`` after ``call.interrupter.interrupt()``.
    """
    telemetry = call.telemetry
    steps = call.loop.steps()
    sockets = socket_exchange.SocketExchange(call) if call.plan.options.websocket else None
    outcome: RequestOutcome | list[ToolOutcome] | None = None
    failed = True
    try:
        while True:
            if call.interrupter.interrupted:
                raise _stream_closed_error(call)
            step = steps.send(outcome)
            outcome = None
            match step:
                case EmitEvents(events):
                    if is_read:
                        yield from events
                case Sleep(seconds):
                    call.interrupter.sleep(call.limit_to_total(seconds))
                case SendRequest():
                    if sockets is not None and step.over_socket:
                        outcome = yield from sockets.exchange_request(step)
                    else:
                        outcome = yield from _exchange_request(call, step, is_read)
                case RunTools(ready):
                    outcome = tool_execution.run_tools(ready)
    except StopIteration:
        failed = False
        telemetry.report_end(call.loop.result)
    except (GeneratorExit, StreamClosed):
        failed = False
        telemetry.report_end(call.loop.result)  # which is there for a caller who leaves with the last event
        raise
    except BaseException as error:
        telemetry.report_end(error=error)
        raise
    finally:
        try:
            if sockets is not None:
                sockets.close()
        finally:
            if call.route.is_one_call:
                call.route.close(failed=failed)


def _exchange_request(call: PreparedCall, step: SendRequest, is_read: bool) -> Generator[Event, None, RequestOutcome]:
    try:
        answer = call.send_request(step)
        if step.unstreamed:
            return RequestOutcome(None, True, answer.headers, answer.content)
    except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
        return _outcome_without_answer(call, error)
    stream = answer
    headers = stream.response.headers
    feed = call.loop.parser.feed
    telemetry = call.telemetry
    reports_chunks = telemetry.has_chunk_listeners
    body: bytes | None = None
    try:
        with call.interrupter.watch_reading(stream, call.remaining_seconds()):
            if is_stream(stream):
                set_idle_timeout(stream, call.idle_seconds())
                for chunk in stream:
                    events = feed(chunk)
                    if not (reports_chunks or is_read):
                        continue
                    for event in events:
                        if reports_chunks:
                            telemetry.report_event(event)
                        if is_read:
                            yield event
            else:
                body = stream.response.read()
            call.remaining_seconds()
    except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
        if call.interrupter.interrupted:
            raise _stream_closed_error(call) from None
        return RequestOutcome(_reading_error(call, error), True, headers)
    finally:
        stream.close()
    return RequestOutcome(None, True, headers, body)


def _stream_closed_error(call: PreparedCall) -> StreamClosed:
    return StreamClosed(f"stream {call.plan.ref} was closed before its end")


def _outcome_without_answer(call: PreparedCall, error: Exception) -> RequestOutcome:
    response = getattr(error, "response", None)
    return RequestOutcome(call.error_or_total_timeout(error), False, response.headers if response is not None else {})


def _reading_error(call: PreparedCall, error: Exception) -> BaseException:
    """Return the error that explains why reading an answer failed."""
    if isinstance(error, _PROTOCOL_ERRORS):
        reason = f"{type(error).__name__}: {error}"
        made = InvalidAnswer(
            f"{call.error_context.host} sent what the {call.plan.endpoint.name} API does not have ({reason})"
        )
        made.__cause__ = error
        return made
    return call.error_or_total_timeout(error)


async def drive_call_async(made: CallPlan | PreparedCall, *, is_read: bool = True) -> AsyncGenerator[Event, None]:
    """``drive_call`` for asynchronous calls.

    The route of a plan is resolved first, on a thread, as it may read files.
    """
    call = await prepare_call_async(made) if isinstance(made, CallPlan) else made
    telemetry = call.telemetry
    steps = call.loop.steps()
    sockets = socket_exchange.AsyncSocketExchange(call) if call.plan.options.websocket else None
    outcome: RequestOutcome | list[ToolOutcome] | None = None
    failed = True
    try:
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration:
                failed = False
                telemetry.report_end(call.loop.result)
                return
            outcome = None
            match step:
                case EmitEvents(events):
                    for event in events if is_read else ():
                        yield event
                case Sleep(seconds):
                    await anyio.sleep(call.limit_to_total(seconds))
                case SendRequest():
                    exchange = sockets if sockets is not None and step.over_socket else _AsyncExchange(call, is_read)
                    # Closed here rather than by the garbage collector, whose closing the end of the event loop may cut
                    # short.
                    async with aclosing(exchange.exchange_request(step)) as arriving:
                        async for event in arriving:
                            yield event
                    outcome = exchange.outcome
                case RunTools(ready):
                    outcome = await call.within_total(tool_execution.run_tools_async(ready))
    except (GeneratorExit, anyio.get_cancelled_exc_class()):
        failed = False
        telemetry.report_end(call.loop.result)  # which is there for a caller who leaves with the last event
        raise
    except BaseException as error:
        telemetry.report_end(error=error)
        raise
    finally:
        try:
            if sockets is not None:
                await sockets.close()
        finally:
            await call.route.close_async(failed=failed)


class _AsyncExchange:
    """One request of the asynchronous driver. An async generator cannot return a value, so ``outcome`` holds it."""

    def __init__(self, call: PreparedCall, is_read: bool) -> None:
        self._call = call
        self._is_read = is_read
        self.outcome = RequestOutcome()

    async def exchange_request(self, step: SendRequest) -> AsyncGenerator[Event, None]:
        call = self._call
        try:
            answer = await call.send_request_async(step)
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            self.outcome = _outcome_without_answer(call, error)
            return
        if step.unstreamed:
            self.outcome = RequestOutcome(None, True, answer.headers, answer.content)
            return
        stream = answer
        headers = stream.response.headers
        feed = call.loop.parser.feed
        telemetry = call.telemetry
        reports_chunks, is_read = telemetry.has_chunk_listeners, self._is_read
        body: bytes | None = None
        try:
            if is_stream(stream):
                set_idle_timeout(stream, call.idle_seconds())
                async for chunk in stream if call.deadline is None else _each_within_total(call, stream):
                    events = feed(chunk)
                    if not (reports_chunks or is_read):
                        continue
                    for event in events:
                        if reports_chunks:
                            telemetry.report_event(event)
                        if is_read:
                            yield event
            else:
                body = await call.within_total(stream.response.aread())
            self.outcome = RequestOutcome(None, True, headers, body)
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            self.outcome = RequestOutcome(_reading_error(call, error), True, headers)
        finally:
            with anyio.CancelScope(shield=True):  # a cancelled call must still close its connection
                await stream.close()


async def _each_within_total(call: PreparedCall, stream: Any) -> AsyncGenerator[Any, None]:
    chunks = aiter(stream)
    while True:
        call.remaining_seconds()
        try:
            chunk = await call.within_total(anext(chunks))
        except StopAsyncIteration:
            return
        yield chunk
