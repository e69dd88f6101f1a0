"""The two drivers of the loop. They do I/O and decide nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator, Iterator

import anyio

from aquila.engine import link
from aquila.engine.call import Call, Plan, aprepare
from aquila.engine.loop import Emit, Outcome, Send, Sleep
from aquila.errors import InvalidAnswer
from aquila.events import Event
from aquila.transports.clients import close_async

_NOT_THE_PROTOCOL = (AttributeError, KeyError, IndexError, TypeError)
"""What reading a chunk raises that lacks its fields or has them in another form."""


def drive(call: Call) -> Iterator[Event]:
    """Make the call and yield its events. Closing the generator closes the connection."""
    telemetry = call.telemetry
    steps = call.loop.steps()
    outcome: Outcome | None = None
    failed = True
    try:
        while True:
            step = steps.send(outcome)
            outcome = None
            match step:
                case Emit(events):
                    for event in events:
                        telemetry.event(event)
                        yield event
                case Sleep(seconds):
                    time.sleep(call.within_total(seconds))
                case Send():
                    telemetry.request(step.request, step.turn)
                    outcome = yield from _exchange(call, step)
    except StopIteration:
        failed = False
        telemetry.stop(call.loop.response)
    except GeneratorExit:
        failed = False
        telemetry.stop()
        raise
    except BaseException as error:
        telemetry.stop(error=error)
        raise
    finally:
        call.route.close(failed=failed)


def _exchange(call: Call, step: Send) -> Generator[Event, None, Outcome]:
    try:
        client = link.sync_client(call.plan.base_url, call.api_key)
        with call.route.activate():
            stream = call.plan.endpoint.method(client)(**call.arguments(step.request))
    except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
        return _not_begun(error)
    headers = stream.response.headers
    parser = call.loop.parser
    telemetry = call.telemetry
    hears, total = telemetry.hears_chunks, call.deadline is not None
    try:
        if link.is_stream(stream):
            link.set_idle_timeout(stream, call.idle())
            feed = parser.feed
            for chunk in stream:
                for event in feed(chunk):
                    if hears:
                        telemetry.event(event)
                    yield event
                if total:
                    call.remaining()
        else:
            answer = link.decode_whole(stream, stream.response.read(), call.where)
            yield from parser.feed_whole(answer)
    except _NOT_THE_PROTOCOL as error:
        return Outcome(_unreadable(call, error), True, headers)
    except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
        return Outcome(error, True, headers)
    finally:
        stream.close()
    return Outcome(None, True, headers)


def _not_begun(error: Exception) -> Outcome:
    response = getattr(error, "response", None)
    return Outcome(error, False, response.headers if response is not None else {})


def _unreadable(call: Call, error: Exception) -> InvalidAnswer:
    found = f"{type(error).__name__}: {error}"
    made = InvalidAnswer(
        f"{call.where.host} sent a chunk that the {call.plan.endpoint.name} API does not have ({found})"
    )
    made.__cause__ = error
    return made


async def adrive(plan: Plan) -> AsyncIterator[Event]:
    """``drive`` for asynchronous calls; the route is resolved at the first step, off the event loop."""
    call = await aprepare(plan)
    telemetry = call.telemetry
    steps = call.loop.steps()
    outcome: Outcome | None = None
    failed = True
    try:
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration:
                failed = False
                telemetry.stop(call.loop.response)
                return
            outcome = None
            match step:
                case Emit(events):
                    for event in events:
                        telemetry.event(event)
                        yield event
                case Sleep(seconds):
                    await anyio.sleep(call.within_total(seconds))
                case Send():
                    telemetry.request(step.request, step.turn)
                    exchange = _AsyncExchange(call, step)
                    async for event in exchange.events():
                        yield event
                    outcome = exchange.outcome
    except (GeneratorExit, anyio.get_cancelled_exc_class()):
        failed = False
        telemetry.stop()
        raise
    except BaseException as error:
        telemetry.stop(error=error)
        raise
    finally:
        await close_async(call.route, failed=failed)


class _AsyncExchange:
    """One request of the asynchronous driver. An async generator cannot return the outcome, so it is kept here."""

    def __init__(self, call: Call, step: Send) -> None:
        self._call = call
        self._step = step
        self.outcome = Outcome()

    async def events(self) -> AsyncIterator[Event]:
        call = self._call
        try:
            client = link.async_client(call.plan.base_url, call.api_key)
            with call.route.activate():
                stream = await call.plan.endpoint.method(client)(**call.arguments(self._step.request))
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            self.outcome = _not_begun(error)
            return
        headers = stream.response.headers
        parser = call.loop.parser
        telemetry = call.telemetry
        hears, total = telemetry.hears_chunks, call.deadline is not None
        try:
            if link.is_stream(stream):
                link.set_idle_timeout(stream, call.idle())
                feed = parser.feed
                async for chunk in stream:
                    for event in feed(chunk):
                        if hears:
                            telemetry.event(event)
                        yield event
                    if total:
                        call.remaining()
            else:
                answer = link.decode_whole(stream, await stream.response.aread(), call.where)
                for event in parser.feed_whole(answer):
                    yield event
            self.outcome = Outcome(None, True, headers)
        except _NOT_THE_PROTOCOL as error:
            self.outcome = Outcome(_unreadable(call, error), True, headers)
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            self.outcome = Outcome(error, True, headers)
        finally:
            with anyio.CancelScope(shield=True):  # a cancelled call must still close its connection
                await stream.close()
