"""Asynchronous streams."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Any, Generic, Self

import anyio

from aquila.engine.calls.call_plan import CallPlan, plan_conversation, prepare_call_async
from aquila.engine.streams.drivers import drive_call_async
from aquila.engine.streams.sync_stream import StreamState
from aquila.errors import ConfigError, StreamClosed
from aquila.events import Done, Event, Failed
from aquila.response import ParsedT_co, Response
from aquila.sinks import Sink, deliver_event_async, notify_failure_async


class AsyncStream(Generic[ParsedT_co]):
    """A running asynchronous call. Iterate it with ``async for``, once; or await its ``result``.

    The request is sent when the first event is asked for; with ``sink=`` at once, in a task of the running event loop.
    As an asynchronous context manager it is closed at the end of the block, and the connection with it.

    Examples:
        >>> import asyncio
        >>> async def first_words():
        ...     async with aquila.astream("How do eagles fly so far?") as stream:
        ...         return [event.text async for event in stream if isinstance(event, aquila.Chunk)][:2]
        >>> asyncio.run(first_words())
        ['Eagles ', 'circle ']
    """

    def __init__(self, plan: CallPlan) -> None:
        self._plan = plan
        self._state: StreamState[ParsedT_co] = StreamState(plan.ref)
        # Set by ``aclose`` while another task reads: a recording then says that the reader had not left.
        self._was_ended = threading.Event()
        self._events = drive_call_async(plan, was_ended=self._was_ended)
        self._task: asyncio.Task[None] | None = None
        # Whether all events were read, or no more will be read. Then there is nothing to close.
        self._ended = False
        # The asyncio task that iterates the stream, for ``aclose`` in another task to cancel; None once it has left.
        self._reader: asyncio.Task[Any] | None = None
        # Under another library than asyncio, tasks cannot be cancelled from outside; this scope around the wait for the
        # next event can. It is None between waits.
        self._waiting: anyio.CancelScope | None = None
        # Made by ``aclose`` while another task waits for an event; then the cancellation is not that task's own. It is
        # set once that task has left the stream.
        self._left: anyio.Event | None = None
        sink = plan.options.sink
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

    def _replan(self, plan: CallPlan) -> None:
        """Replace the plan. Only before the first event is asked for, when nothing has been sent."""
        self._plan = plan
        self._events = drive_call_async(plan, was_ended=self._was_ended)

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events. Raises ``StreamConsumed`` the second time, ``StreamClosed`` after close."""
        self._state.claim_events("it is being iterated or has been")
        return self._iterate_events()

    async def _iterate_events(self) -> AsyncIterator[Event]:
        if self._is_being_read:
            raise self._state.second_reader_error()
        self._reader = _current_task()
        try:
            async for event in self._events if self._reader is not None else self._each_while_waiting():
                if type(event) is Done:
                    self._state.response = event.response
                yield event
        except GeneratorExit:  # the caller has left its loop, and may still close the stream or ask for the result
            self._reader = None
            raise
        except anyio.get_cancelled_exc_class():
            self._ended = True
            if self._left is None or self._reader is None:
                self._state.closed = True  # nothing more comes: the call has ended with its reader
                raise
            # aclose() in another task cancelled this one. Without uncancel() a timeout or task group around this task
            # would take the cancellation for its own.
            self._reader.uncancel()
        except BaseException as error:
            if self._is_being_read:  # by the task of a sink or a result that was asked for meanwhile
                raise self._state.second_reader_error() from None
            self._ended = True
            self._state.error = error
            raise
        finally:
            if self._left is not None:
                self._left.set()
        self._ended = True
        if self._state.closed and self._state.response is None:
            raise StreamClosed(f"stream {self.ref} was closed while it was read")

    @property
    def _is_being_read(self) -> bool:
        """Whether another task waits for the next event, so that neither ``anext`` nor ``aclose`` can be called."""
        return getattr(self._events, "ag_running", False)

    async def _each_while_waiting(self) -> AsyncIterator[Event]:
        """Yield the events of the call, each awaited in its own cancel scope: anyio forbids a ``yield`` within one."""
        while True:
            with anyio.CancelScope() as self._waiting:
                try:
                    event = await anext(self._events)
                except StopAsyncIteration:
                    return
            self._waiting = None
            if self._left is not None:
                await self._events.aclose()  # not at its end yet if an event arrived before the cancellation
                return
            yield event

    async def result(self, timeout: float | None = None) -> Response[ParsedT_co]:
        """Return the complete answer; events that nobody has read yet are dropped.

        ``timeout`` is the longest wait in seconds. Raises ``StreamTimeout`` after it, and the stream goes on:
        ``result`` may be awaited again. Raises what the call failed with.
        """
        if self._task is None and not self._ended and not self._state.closed:
            if timeout is None:
                self._state.reader = "its result was asked for"
                async for _ in self._iterate_events():
                    pass
            else:
                self._start_pushing(Sink.ignore())
                self._state.reader = "its result was asked for"
        if self._task is not None and self._task is not asyncio.current_task():
            done, _ = await asyncio.wait((self._task,), timeout=timeout)
            if not done:
                raise self._state.timeout_error(timeout)
        return self._state.response_or_error()

    async def aclose(self) -> None:
        """End the call and close its connection. Does nothing after its end.

        Whoever iterates the stream in another task gets ``StreamClosed``, once the connection is closed.
        """
        self._state.closed = True
        reader = self._task or self._reader
        if reader is not None and reader is not _current_task() and not reader.done():
            self._was_ended.set()
        if self._task is not None:
            if self._task is not asyncio.current_task() and not self._task.done():
                self._task.cancel()
                await asyncio.wait((self._task,))
        elif not self._ended:
            if self._is_being_read:
                if self._left is None and (reading := self._reader or self._waiting) is not None:
                    self._left = anyio.Event()
                    reading.cancel()
                if self._left is not None:
                    await self._left.wait()
                return
            self._ended = True
            await self._events.aclose()

    def _start_pushing(self, sink: Sink) -> None:
        if _current_task() is None:
            raise ConfigError("sink= and result(timeout=) of a stream need asyncio; iterate it, or use aask(sink=)")
        self._task = asyncio.create_task(self._push_events(sink), name=f"aquila-{self.ref}")

    async def _push_events(self, sink: Sink) -> None:
        """Read to the end and pass every event to the sink. Runs in its own task."""
        if self._is_being_read:  # by a task that goes on, and that `aclose` must find
            self._task = None
            self._state.error = self._state.second_reader_error()
            return
        try:
            async for event in self._events:
                if self._state.closed:
                    break
                await _push_event(self._events, sink, event)
                if type(event) is Done:
                    self._state.response = event.response
        except asyncio.CancelledError:
            self._state.closed = True
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised by result()
            self._state.error = error
            await notify_failure_async(sink, Failed(error, ref=self.ref, metadata=self._plan.options.metadata))
        finally:
            self._ended = True
            await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncStream {self.ref} {self._state.status_word()}>"


def _current_task() -> asyncio.Task[Any] | None:
    """Return the running asyncio task, or None under another library, such as trio."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def open_async_stream(prompt: Any, options: dict[str, Any]) -> AsyncStream:
    """Return the asynchronous stream of a prompt; ``options`` are the caller's, by name. Raises ``ConfigError``."""
    return AsyncStream(plan_conversation(prompt, options, streams=True))


async def _push_event(events: AsyncGenerator[Event, None], sink: Sink, event: Event) -> None:
    """Give an event to a sink. If that fails, the call that ``events`` drive fails with the same error."""
    try:
        await deliver_event_async(sink, event)
    except BaseException as error:
        await events.athrow(error)
        raise


async def run_call_async(plan: CallPlan) -> Any:
    """Make the call of a plan and return its result; its sink gets the events as they arrive."""
    call = await prepare_call_async(plan)
    sink = plan.options.sink
    events = drive_call_async(call, is_read=sink is not None)
    try:
        async for event in events:
            if sink is not None:
                await _push_event(events, sink, event)
    except (GeneratorExit, anyio.get_cancelled_exc_class()):
        raise
    except BaseException as error:
        if sink is not None:
            await notify_failure_async(sink, Failed(error, ref=plan.ref, metadata=plan.options.metadata))
        raise
    finally:
        # The connection must be closed even if the caller is cancelled.
        with anyio.CancelScope(shield=True):
            await events.aclose()
    return call.loop.result
