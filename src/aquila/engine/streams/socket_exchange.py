"""The WebSocket of a call, and requests over it.

The first request opens the connection. It is closed at the end of the call or by a failure; the next request opens
another.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import anyio

from aquila.engine.calls import prepared_call
from aquila.engine.calls.error_translation import (
    PROTOCOL_ERRORS,
    connect_timeout_error,
    connection_error,
    error_of_protocol,
    error_of_status,
    silence_error,
)
from aquila.engine.calls.prepared_call import PreparedCall
from aquila.engine.loop.socket_answer import SocketAnswer, write_message
from aquila.engine.loop.steps import RequestOutcome, SendRequest
from aquila.engine.openai_sdk import require_web_sockets
from aquila.errors import ConfigError, InvalidAnswer
from aquila.events import Event
from aquila.intercept.web_sockets import own_connections
from aquila.recording.replayed_time_limits import TimeLimit, time_limit

_PURPOSE = "aquila.ask(websocket=True)"

_NO_WEB_SOCKET_STATUSES = frozenset({404, 405, 426, 501})
"""The statuses of a refused handshake at a path where the server does not speak WebSockets."""


class _SocketExchangeBase:
    """What both sides share, the synchronous and the asynchronous. ``outcome`` says how the last request ended.

    ``_connection`` is the SDK's connection, ``_raw`` that of the library websockets below it; both are None while no
    connection is open. ``_is_answering``: an answer has not arrived completely.
    """

    def __init__(self, call: PreparedCall) -> None:
        self._call = call
        self._connection: Any = None
        self._raw: Any = None
        self._is_answering = False
        self.outcome = RequestOutcome()

    def _begin_attempt(self, *, within_loop: bool) -> tuple[own_connections.ConnectionAttempt, dict[str, Any]]:
        call = self._call
        attempt = own_connections.ConnectionAttempt(within_loop=within_loop, purpose=_PURPOSE)
        seconds = prepared_call.shortest_limit(call.plan.timeouts.connect, call.remaining_seconds())
        return attempt, attempt.options(seconds)

    def _make_answer(self) -> SocketAnswer:
        return SocketAnswer(self._call.loop.parser, self._call.error_context)

    @contextmanager
    def _awaiting(self, answer: SocketAnswer) -> Iterator[float | None]:
        """Put the limits of a wait for the next message in force.

        Yields the longest wait in seconds, None without limit.
        """
        limits = self._call.plan.timeouts
        longest = limits.idle if answer.begun or limits.read is None else limits.read
        seconds = prepared_call.shortest_limit(longest, self._call.remaining_seconds())
        # As two limits, so that a recording can say which of them ended a silence, and a replay lets that one strike.
        own = None if longest is None else TimeLimit("idle", longest, TimeoutError)
        with time_limit(self._call.total_limit), time_limit(own):
            yield seconds

    def _take_message(self, answer: SocketAnswer, data: Any) -> Sequence[Event]:
        """Report what a message of the provider says. Returns its events."""
        telemetry = self._call.telemetry
        events = answer.feed(self._connection.parse_event(data))
        if telemetry.has_chunk_listeners:
            for event in events:
                telemetry.report_event(event)
        return events

    def _finish(self) -> None:
        """Note that an answer has arrived completely. Raises the error of a call that has taken too long."""
        self._is_answering = False
        self._call.raise_if_overdue()
        self.outcome = RequestOutcome(None, True, own_connections.read_headers(self._raw))

    def _fail(self, answer: SocketAnswer, error: Exception) -> None:
        self.outcome = self._outcome_of(error, answer)
        self._is_answering = not answer.is_over

    def _outcome_of(self, error: Exception, answer: SocketAnswer) -> RequestOutcome:
        """Return the outcome of a request that failed with ``error``."""
        call, headers = self._call, answer.headers
        context = call.error_context
        refusal = own_connections.read_refusal(error)
        made: BaseException = error
        if refusal is not None:
            made, headers = self._refusal_error(refusal), refusal.headers
        elif isinstance(error, TimeoutError):
            made = connect_timeout_error(context) if self._raw is None else silence_error(context, begun=answer.begun)
        elif own_connections.is_lost(error):
            made = connection_error(error, context, answer.begun, None)
        elif isinstance(error, PROTOCOL_ERRORS):
            made = error_of_protocol(error, context, "responses")
        if made is not error:
            made.__cause__ = error
        call.end_if_overdue(made)
        return RequestOutcome(made, answer.begun, headers)

    def _refusal_error(self, refusal: own_connections.RefusedHandshake) -> BaseException:
        """Return the error for a handshake that the server refused."""
        context = self._call.error_context
        status = refusal.status
        if status < 400:
            text = f"{context.host} answered {status} to the handshake of a WebSocket; leave out websocket=True"
            return InvalidAnswer(text, status=status)
        body: Any = refusal.body.decode("utf-8", "replace")
        # A body that is not JSON is shown as text.
        with suppress(ValueError):
            parsed = json.loads(body)
            body = parsed.get("error", parsed) if isinstance(parsed, dict) else body
        made = error_of_status(
            status,
            body,
            context,
            headers=refusal.headers,
            request_id=refusal.headers.get("x-request-id"),
        )
        if status in _NO_WEB_SOCKET_STATUSES:
            made.args = (f"{made}. If it does not speak WebSockets there, leave out websocket=True",)
        return made


class SocketExchange(_SocketExchangeBase):
    """The WebSocket of a synchronous call."""

    def exchange_request(self, step: SendRequest) -> Generator[Event, None, None]:
        """Send a request and yield the events of its answer."""
        call = self._call
        answer = self._make_answer()
        try:
            message = write_message(step.request)
            if self._raw is None:
                self._open()
            raw = self._raw
            self._is_answering = True
            self._send(message)
            with call.interrupter.watch_reading(raw, None, own_connections.leave_connection):
                while not answer.is_over:
                    with self._awaiting(answer) as seconds:
                        data = raw.recv(seconds)
                    yield from self._take_message(answer, data)
            self._finish()
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            self._fail(answer, error)
            self.close()

    def _open(self) -> None:
        call = self._call
        attempt, options = self._begin_attempt(within_loop=False)
        client = prepared_call.sync_client(call.plan.base_url, call.api_key)
        require_web_sockets(client.responses)
        with own_connections.connecting_on(call.route):
            # The SDK types the options of the library websockets more narrowly than it passes them on.
            self._connection = client.responses.connect(websocket_connection_options=options).enter()  # type: ignore[arg-type]
        self._raw = attempt.connection

    def _send(self, message: Any) -> None:
        """Send a message. Raises ``TimeoutError`` where the provider does not read it in time."""
        seconds = self._call.idle_seconds()
        limit = None if seconds is None else TimeLimit("idle", seconds, TimeoutError)
        try:
            with self._call.interrupter.watch_reading(self._raw, seconds, own_connections.leave_connection):
                self._connection.send_raw(message)
        except Exception as error:
            if limit is not None and limit.has_run_out and own_connections.is_lost(error):
                raise limit.make_error() from error
            raise

    def close(self) -> None:
        """Close the connection, if there is one: at once where an answer was still coming."""
        connection, raw = self._connection, self._raw
        self._connection = self._raw = None
        if raw is None:
            return
        if self._is_answering:
            own_connections.leave_connection(raw)
        else:
            connection.close()
        self._is_answering = False


class AsyncSocketExchange(_SocketExchangeBase):
    """The WebSocket of an asynchronous call."""

    async def exchange_request(self, step: SendRequest) -> AsyncGenerator[Event, None]:
        """Send a request and yield the events of its answer."""
        call = self._call
        answer = self._make_answer()
        try:
            message = write_message(step.request)
            if self._raw is None:
                await self._open()
            raw = self._raw
            self._is_answering = True
            await _within(call.idle_seconds(), self._connection.send_raw(message))
            while not answer.is_over:
                with self._awaiting(answer) as seconds:
                    data = await _within(seconds, raw.recv())
                for event in self._take_message(answer, data):
                    yield event
            self._finish()
        except Exception as error:  # noqa: BLE001 - the loop decides what becomes of it
            self._fail(answer, error)
            await self.close()

    async def _open(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError("websocket=True needs asyncio, because the library websockets needs it") from None
        call = self._call
        attempt, options = self._begin_attempt(within_loop=True)
        client = prepared_call.async_client(call.plan.base_url, call.api_key)
        require_web_sockets(client.responses)
        connecting = client.responses.connect(websocket_connection_options=options)  # type: ignore[arg-type]
        with own_connections.connecting_on(call.route):
            self._connection = await connecting.enter()
        self._raw = attempt.connection

    async def close(self) -> None:
        """Close the connection, if there is one: at once where an answer was still coming."""
        connection, raw = self._connection, self._raw
        self._connection = self._raw = None
        if raw is None:
            return
        with anyio.CancelScope(shield=True):  # a cancelled call must still close its connection
            if self._is_answering:
                await own_connections.leave_async(raw)
            else:
                await connection.close()
        self._is_answering = False


async def _within(seconds: float | None, work: Any) -> Any:
    """Await ``work`` for at most so many seconds; None is no limit. Raises ``TimeoutError``."""
    if seconds is None:
        return await work
    with anyio.fail_after(seconds):
        return await work
