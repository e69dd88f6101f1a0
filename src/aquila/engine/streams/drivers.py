"""The two drivers of the loop. They do I/O and decide nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import aclosing
from typing import Any, TypeVar

import anyio

from aquila.engine.calls import sdk_client
from aquila.engine.calls.call import CallPlan, PreparedCall, aprepare
from aquila.engine.loop import tool_execution
from aquila.engine.loop.steps import Emit, Outcome, Run, Send, Sleep
from aquila.engine.loop.tool_execution import Ran
from aquila.errors import InvalidAnswer, StreamClosed
from aquila.events import Event
from aquila.transports.clients import close_async

T = TypeVar("T")

_NOT_THE_PROTOCOL = (AttributeError, KeyError, IndexError, TypeError)
"""What reading a chunk raises that lacks its fields or has them in another form."""


def drive(call: PreparedCall) -> Generator[Event, None, None]:
    """Make the call and yield its events. Closing the generator closes the connection."""
    telemetry = call.telemetry
    steps = call.loop.steps()
    outcome: Outcome | list[Ran] | None = None
    failed = True
    try:
        while True:
            if call.inflight.interrupted:
                raise _left(call)
            step = steps.send(outcome)
            outcome = None
            match step:
                case Emit(events):
                    yield from events
                case Sleep(seconds):
                    call.inflight.sleep(call.within_total(seconds))
                case Send():
                    outcome = yield from _exchange(call, step)
                case Run(ready):
                    outcome = tool_execution.run(ready)
    except StopIteration:
        failed = False
        telemetry.stop(call.loop.result)
    except (GeneratorExit, StreamClosed):
        failed = False
        telemetry.stop(call.loop.result)  # which is there for a caller who leaves with the last event
        raise
    except BaseException as error:
        telemetry.stop(error=error)
        raise
    finally:
        call.route.close(failed=failed)


def _exchange(call: PreparedCall, step: Send) -> Generator[Event, None, Outcome]:
    try:
        client = sdk_client.sync_client(call.plan.base_url, call.api_key)
        with call.route.activate():
            answer = sdk_client.method(client, step.path, whole=step.whole)(**call.arguments(step.path, step.request))
            if step.whole:
                return Outcome(None, True, answer.headers, answer.content)
    except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
        return _not_begun(call, error)
    stream = answer
    headers = stream.response.headers
    feed = call.loop.parser.feed
    telemetry = call.telemetry
    hears = telemetry.hears_chunks
    body: bytes | None = None
    try:
        with call.inflight.reading(stream, call.remaining()):
            if sdk_client.is_stream(stream):
                sdk_client.set_idle_timeout(stream, call.idle())
                for chunk in stream:
                    for event in feed(chunk):
                        if hears:
                            telemetry.event(event)
                        yield event
            else:
                body = stream.response.read()
            call.remaining()
    except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
        if call.inflight.interrupted:
            raise _left(call) from None
        return Outcome(_found(call, error), True, headers)
    finally:
        stream.close()
    return Outcome(None, True, headers, body)


def _left(call: PreparedCall) -> StreamClosed:
    return StreamClosed(f"stream {call.plan.ref} was closed before its end")


def _not_begun(call: PreparedCall, error: Exception) -> Outcome:
    response = getattr(error, "response", None)
    return Outcome(call.outcome_of(error), False, response.headers if response is not None else {})


def _found(call: PreparedCall, error: Exception) -> BaseException:
    """What an error while an answer is read comes from."""
    if isinstance(error, _NOT_THE_PROTOCOL):
        reason = f"{type(error).__name__}: {error}"
        made = InvalidAnswer(f"{call.where.host} sent what the {call.plan.endpoint.name} API does not have ({reason})")
        made.__cause__ = error
        return made
    return call.outcome_of(error)


async def adrive(made: CallPlan | PreparedCall) -> AsyncGenerator[Event, None]:
    """``drive`` for asynchronous calls; the route of a plan is resolved at the first step, off the event loop."""
    call = await aprepare(made) if isinstance(made, CallPlan) else made
    telemetry = call.telemetry
    steps = call.loop.steps()
    outcome: Outcome | list[Ran] | None = None
    failed = True
    try:
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration:
                failed = False
                telemetry.stop(call.loop.result)
                return
            outcome = None
            match step:
                case Emit(events):
                    for event in events:
                        yield event
                case Sleep(seconds):
                    await anyio.sleep(call.within_total(seconds))
                case Send():
                    exchange = _AsyncExchange(call, step)
                    # Closed here and now: what the garbage collector closes, the end of the event loop may cut short.
                    async with aclosing(exchange.events()) as arriving:
                        async for event in arriving:
                            yield event
                    outcome = exchange.outcome
                case Run(ready):
                    outcome = await _within_total(call, tool_execution.arun(ready))
    except (GeneratorExit, anyio.get_cancelled_exc_class()):
        failed = False
        telemetry.stop(call.loop.result)  # which is there for a caller who leaves with the last event
        raise
    except BaseException as error:
        telemetry.stop(error=error)
        raise
    finally:
        await close_async(call.route, failed=failed)


class _AsyncExchange:
    """One request of the asynchronous driver. An async generator cannot return the outcome, so it is kept here."""

    def __init__(self, call: PreparedCall, step: Send) -> None:
        self._call = call
        self._step = step
        self.outcome = Outcome()

    async def events(self) -> AsyncGenerator[Event, None]:
        call = self._call
        try:
            client = sdk_client.async_client(call.plan.base_url, call.api_key)
            with call.route.activate():
                send = sdk_client.method(client, self._step.path, whole=self._step.whole)
                sent = send(**call.arguments(self._step.path, self._step.request))
                answer = await _within_total(call, sent)
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            self.outcome = _not_begun(call, error)
            return
        if self._step.whole:
            self.outcome = Outcome(None, True, answer.headers, answer.content)
            return
        stream = answer
        headers = stream.response.headers
        feed = call.loop.parser.feed
        telemetry = call.telemetry
        hears = telemetry.hears_chunks
        body: bytes | None = None
        try:
            if sdk_client.is_stream(stream):
                sdk_client.set_idle_timeout(stream, call.idle())
                async for chunk in stream if call.deadline is None else _each_within_total(call, stream):
                    for event in feed(chunk):
                        if hears:
                            telemetry.event(event)
                        yield event
            else:
                body = await _within_total(call, stream.response.aread())
            self.outcome = Outcome(None, True, headers, body)
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            self.outcome = Outcome(_found(call, error), True, headers)
        finally:
            with anyio.CancelScope(shield=True):  # a cancelled call must still close its connection
                await stream.close()


async def _within_total(call: PreparedCall, work: Awaitable[T]) -> T:
    """Await what may take as long as the call has left."""
    if call.deadline is None:
        return await work
    with anyio.move_on_after(call.deadline - time.monotonic()):
        return await work
    raise call.overdue()


async def _each_within_total(call: PreparedCall, stream: Any) -> AsyncGenerator[Any, None]:
    chunks = aiter(stream)
    while True:
        call.remaining()
        try:
            chunk = await _within_total(call, anext(chunks))
        except StopAsyncIteration:
            return
        yield chunk
