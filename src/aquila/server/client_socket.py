"""The WebSocket connection to a client: the library ``websockets`` on a connection that began as HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ProtocolError
from websockets.extensions.permessage_deflate import enable_server_permessage_deflate
from websockets.frames import Close
from websockets.http11 import Response
from websockets.protocol import CLOSED, CONNECTING
from websockets.server import ServerProtocol

from aquila.cassettes.model import SWITCHED
from aquila.cassettes.web_socket_frames.frame import BROKEN, WITHOUT_CODE
from aquila.intercept.web_sockets.dropping import drop_connection
from aquila.intercept.web_sockets.opening_handshakes import SILENT, phrase_of, replace_fields

__all__ = ["ClientSocket", "ConnectionClosed", "closed_by_other"]

_CLOSE_SECONDS = 5
"""The seconds that a client may take to answer a close."""
_GOING_AWAY, _LEAVING_SECONDS = 1001, 1
"""The code of a close when the server ends (RFC 6455, 7.4.1), and the seconds that a client may take to answer it."""
_MOST_WAITING = 4
"""With so many unread messages of the client, no more are read from its connection."""
_LONGEST_REASON = 123
"""The longest reason of a close, in bytes (RFC 6455, 5.5)."""


class ClientSocket(ServerConnection):
    """A connection whose handshake was read as HTTP. It is an asyncio protocol that takes over the transport.

    No pings are sent to test whether the client is alive: a client that is stopped in a debugger does not answer them.
    """

    def __init__(self, *, largest_message: int) -> None:
        extensions = enable_server_permessage_deflate(None)
        super().__init__(
            ServerProtocol(extensions=extensions, max_size=largest_message, logger=SILENT),
            cast(Any, None),  # the server, which is not the library's
            ping_interval=None,
            close_timeout=_CLOSE_SECONDS,
            max_queue=_MOST_WAITING,
        )

        self._acceptance: Response | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super(ServerConnection, self).connection_made(transport)  # ServerConnection's own needs the library's server

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._acceptance is None and self.request is not None:
            self._acceptance = self.protocol.accept(self.request)

    @property
    def flaw(self) -> Response | None:
        """The response to an invalid handshake; None for a valid one."""
        return None if self._acceptance is None or self._acceptance.status_code == SWITCHED else self._acceptance

    @property
    def client_has_left(self) -> bool:
        """Whether the client has closed the conversation, or its connection is lost."""
        return self.protocol.close_rcvd is not None or self.protocol.state is CLOSED

    async def accept(self, headers: Iterable[tuple[str, str]]) -> None:
        """Accept a valid handshake. ``headers`` may name a subprotocol. Raises ``RuntimeError`` before a handshake."""
        if self._acceptance is None:
            raise RuntimeError("no handshake has come yet")
        replace_fields(self._acceptance.headers, headers)
        await self._answer(self._acceptance)

    async def refuse(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Refuse the handshake with a status, header fields and a body."""
        fields = Headers(field for field in headers if field[0].lower() not in ("content-length", "connection"))
        fields["content-length"] = str(len(body))
        fields["connection"] = "close"
        await self._answer(Response(status, phrase_of(status), fields, body))

    async def _answer(self, response: Response) -> None:
        self.response = response
        with suppress(ConnectionClosed):  # the client left before the answer
            async with self.send_context(expected_state=CONNECTING):
                self.protocol.send_response(response)

    async def end(self, code: int, reason: str = "") -> None:
        """Close with any code that can be recorded, and wait until it is closed. 1006 drops the connection."""
        if code == BROKEN:
            self.transport.close()  # sends the bytes that were written before
            return
        try:
            if code != WITHOUT_CODE:
                await self.close(code, shorten_reason(reason))
                return
            async with self.send_context():
                self.protocol.send_close()
        except ConnectionClosed:
            pass
        except ProtocolError:  # a code that RFC 6455 forbids to send, although other libraries accept it
            self.transport.close()

    async def close_for_shutdown(self) -> None:
        """Close because the server ends, even if the client does not answer."""
        with suppress(TimeoutError):  # the client does not answer the close; `drop` ends it
            await asyncio.wait_for(self.close(_GOING_AWAY, "the server ends"), _LEAVING_SECONDS)
        drop_connection(self.transport)


def closed_by_other(connection: Any) -> Close | None:
    """Return the other side's close of a closed connection; None unless the other side closed first."""
    protocol = connection.protocol
    if protocol.close_rcvd is None or protocol.close_rcvd_then_sent is False:
        return None
    return cast(Close, protocol.close_rcvd)


def shorten_reason(reason: str) -> str:
    """Return a reason, cut to the length that a close can hold."""
    data = reason.encode()
    if len(data) <= _LONGEST_REASON:
        return reason
    return data[: _LONGEST_REASON - 3].decode(errors="ignore") + "..."
