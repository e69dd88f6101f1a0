"""A client's connection: it accepts only strict HTTP, within limits of time, size and number.

The parser is llhttp, from Node. It refuses requests that two programs could read differently (request smuggling): two
kinds of length, a length given twice, folded header fields, bare line feeds, odd chunk sizes. This module checks what
llhttp leaves to its caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import socket
import struct
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from aquila.server.handshake import Handshake

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

    from aquila.server.web_sockets import WebSockets

logger = logging.getLogger("aquila")

CUT_ANSWER = "cut_answer"
"""The name, in the state of a request, of a function that ends its answer before the end. Call it last."""


class BoundedConnection(HttpToolsProtocol):
    """One connection. It waits for a request from its beginning, and again after each answer.

    It lives on the event loop of the server, so its state needs no lock.
    """

    head_seconds = 10.0
    """The seconds that a request line and the header fields may take, from the beginning of the connection."""
    body_seconds = 60.0
    """The seconds that the body of a request may take."""
    largest_head = 64 * 1024
    """The largest size of the request line and the header fields, in bytes."""
    most_waiting = 512
    """The greatest number of connections that wait for a request or its rest. A further one replaces the oldest."""

    _deadline: asyncio.TimerHandle | None = None
    _is_in_head = True
    _head_size = 0
    _waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Not the loop's clock, which does not advance while the loop accepts many connections at once.
        self._waiting_since = time.perf_counter()
        self._expect_within(self.head_seconds)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and (self.cycle is None or not self.cycle.more_body):
            # Not only in on_message_begin, which the parser does not call for empty lines before a request.
            self._begin_head()
        self._head_size += len(data)
        self._unset_keepalive_if_required()  # private to uvicorn; its own data_received, which this replaces, calls it
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        if not self._is_in_head:
            self._head_size = 0
        elif self._head_size > self.largest_head and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            # `_get_upgrade` is private to uvicorn. It reads the header field of the request as uvicorn itself does.
            if self._get_upgrade() == b"websocket" and (web_sockets := self._find_web_sockets()) is not None:
                self._switch(web_sockets, has_more=len(data) > offered.args[0])
                return
            # A client that offers another protocol is answered in HTTP/1. Java's client offers HTTP/2 in its first
            # request. The parser reads the following bytes as the other protocol, so a new parser reads the request
            # without the offer.
            kept = [b"%s: %s\r\n" % field for field in self.headers if field[0] != b"connection"]
            head = b"%s %s HTTP/1.1\r\n%s\r\n" % (self.parser.get_method(), self.url, b"".join(kept))
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head + data[offered.args[0] :])

    def _find_web_sockets(self) -> WebSockets | None:
        # Aquila's pages answer no WebSockets.
        find = getattr(getattr(self.config.app, "state", None), "find_web_sockets", None)
        return None if find is None else cast("WebSockets | None", find())

    def _switch(self, web_sockets: WebSockets, *, has_more: bool) -> None:
        """Pass the connection to the WebSockets. A handshake must have no body, and nothing may follow it."""
        bodies = [name for name, _ in self.headers if name in (b"content-length", b"transfer-encoding")]
        is_get = self.parser.get_method() == b"GET" and self.url.startswith(b"/")
        if bodies or has_more or not self._is_waiting or not is_get:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._expect_nothing()
        self.connections.discard(self)
        handshake = Handshake(self.url, tuple(self.headers))
        web_sockets.take_over(handshake, self.transport, self.server_state)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._is_in_head:
            self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # the parser reports trailers here, too, which must not count as header fields
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        # A target that is a whole URL names a host, which could differ from that of the Host field.
        if not self.url.startswith(b"/") or self.parser.get_http_version() not in ("1.0", "1.1"):
            raise ValueError("not a request of HTTP/1 for this server")
        if self.parser.should_upgrade():  # _parse reads the request again, or passes it on
            return
        self._is_in_head = False
        self._expect_within(self.body_seconds)
        super().on_headers_complete()
        if self.parser.get_http_version() == "1.0":
            _end_with_connection(self.cycle)
        # Of this request: later ones of the connection may be read before its answer ends.
        self.scope["state"][CUT_ANSWER] = functools.partial(self._cut_answer, self.cycle)

    def _cut_answer(self, cycle: RequestResponseCycle) -> None:
        """End an answer before its end, by closing the connection."""
        cycle.disconnected = True  # without it, uvicorn logs that the application has forgotten the rest
        if cycle.chunked_encoding is False:  # it may end with its connection: only a reset tells that it is not whole
            with contextlib.suppress(OSError):  # the client has left
                raw = self.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.close()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._expect_nothing()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._waiting_since = time.perf_counter()
        super().on_response_complete()

    @property
    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def _begin_head(self) -> None:
        self._is_in_head = True
        self._expect_within(self.head_seconds)

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(seconds, self._end_wait, seconds)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_wait(self, seconds: float) -> None:
        if self.pipeline or not self._is_waiting:  # nothing is read while an earlier answer is under way
            self._expect_within(seconds)
        elif self._is_in_head and not self._head_size:  # no byte has come; browsers open connections in advance
            self.transport.close()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _make_room(self) -> None:
        waiting = [one for one in self.connections if isinstance(one, BoundedConnection) and one._is_waiting]
        if len(waiting) > self.most_waiting:
            oldest = min(waiting, key=lambda one: one._waiting_since)
            # At once, because connection_lost is called only after further connections may have been made.
            self.connections.discard(oldest)
            oldest.transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        """End the connection, with an error response unless an answer has begun."""
        self._expect_nothing()
        logger.warning("a connection was ended: %d %s", status, status.phrase)
        cycle = self.cycle
        if cycle is not None and cycle.response_started and (cycle.more_body or not cycle.response_complete):
            self.transport.abort()
            return
        error = {"message": status.phrase, "type": "aquila_error", "code": "invalid_request", "param": None}
        body = json.dumps({"error": error}).encode()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, status.phrase.encode(), len(body), body)
        )
        self.transport.close()


def _end_with_connection(cycle: RequestResponseCycle) -> None:
    """Let an answer without a length end with its connection: HTTP/1.0 knows no chunks, which uvicorn sends to all."""
    send, has_length = cycle.send, False

    async def send_without_chunks(message: ASGISendEvent) -> None:
        nonlocal has_length
        if message["type"] == "http.response.start":
            has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            cycle.chunked_encoding = None if has_length else False  # None: what uvicorn finds in the fields
        elif message["type"] == "http.response.body" and not has_length:
            cycle.expected_content_length = len(message.get("body", b""))  # else uvicorn refuses to send it
        await send(message)

    cycle.send = send_without_chunks  # type: ignore[method-assign]
