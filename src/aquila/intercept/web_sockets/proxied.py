"""Answers the WebSocket handshakes that ``aquila serve`` receives.

The decisions and the recordings are the same as for client libraries. The server passes on a handshake, and gets a
replay, or a connection to the upstream.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.errors import ConfigError
from aquila.intercept.web_sockets.answering import answer_within
from aquila.intercept.web_sockets.dropping import drop_connection
from aquila.intercept.web_sockets.opening_handshakes import CONNECT_ERROR, SILENT, SUBPROTOCOL, fields_of
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.intercept.web_sockets.writing import write_due_async
from aquila.optional import import_optional
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.transports.callers.proxy import NO_CASSETTE, KeyWithheld, Proxy, UpstreamFailed
from aquila.transports.own_requests import own_request
from aquila.transports.upstreams import CASSETTE_MODES

_OF_THE_HANDSHAKE = "sec-websocket-"
_NOT_SENT = frozenset({"accept-encoding", "origin"})
"""Fields that are not sent to the upstream: a coded body could not be read here, and the origin is this server."""
_OF_ONE_BODY = frozenset({"connection", "content-length", "content-encoding", "transfer-encoding"})

_OPEN_SECONDS, _CLOSE_SECONDS = 60, 5
"""How many seconds the upstream may take for its answer to a handshake, and to a close."""
_PING_SECONDS = 20
"""The seconds between pings to the upstream, so that no proxy ends an idle connection. It need not answer them."""
_MOST_WAITING = 4
"""With so many unread messages of the upstream, no more are read from its connection."""


@dataclass(frozen=True, slots=True)
class RefusedUpstream:
    """An answer of the upstream that refuses a handshake."""

    status: int
    headers: Headers
    body: bytes


class UpstreamConversation:
    """The connection of a conversation to the upstream.

    ``recorder`` is None for a conversation that is not recorded. ``largest_message`` is in bytes.
    """

    def __init__(self, request: RecordedRequest, recorder: FrameRecorder | None, largest_message: int) -> None:
        self.recorder = recorder
        self._request = request
        self._largest_message = largest_message
        self._connection: Any = None

    async def connect(self) -> Any:
        """Connect. Return a connection of ``websockets``, or a ``RefusedUpstream``.

        Raises ``UpstreamFailed``, and ``ConfigError`` for a URL or a proxy to which nothing can connect. If the caller
        is cancelled, ``store_unanswered`` stores that. ``close`` must always be awaited.
        """
        exceptions = import_optional("websockets.exceptions", "websockets", purpose="a WebSocket")
        try:
            with own_request():
                self._connection = await self._connect()
                return self._connection
        except exceptions.InvalidStatus as error:
            return await self._take_refusal(error.response)
        # Before 15.0 the library used no proxies, and had no such error.
        except (exceptions.InvalidURI, getattr(exceptions, "InvalidProxy", exceptions.InvalidURI)) as error:
            if self.recorder is not None:
                self.recorder.forget()  # a fault of this machine, and no answer of the provider
            # Without the URL, which may hold a key or a password.
            raise ConfigError(
                f"no connection to the upstream can be made: {type(error).__name__}: {error.msg}"
            ) from None
        except (OSError, exceptions.WebSocketException, EOFError, ValueError) as error:
            if self.recorder is not None:
                self.recorder.finish_broken(f"{CONNECT_ERROR}{error}")
                await write_due_async(self.recorder)
            raise UpstreamFailed(f"{type(error).__name__}: {error}") from error
        except BaseException:
            if self.recorder is not None:
                self.recorder.finish_unanswered()
            raise

    async def store_unanswered(self) -> None:
        """Store that the client has left before it was answered. Else the end of the scope does, if nothing forgets."""
        if self.recorder is not None:
            await write_due_async(self.recorder)

    async def close(self) -> None:
        """End the connection, if there is one. A recording that has not ended is stored as left by the client."""
        if self._connection is None:
            return
        drop_connection(self._connection.transport)
        if self.recorder is not None:
            self.recorder.finish_left()
            await write_due_async(self.recorder)

    async def _connect(self) -> Any:
        fields = self._request.headers
        offered = [each.strip() for name, value in fields if name == SUBPROTOCOL for each in value.split(",")]
        return await _connecting_class()(
            self._request.url,
            additional_headers=[field for field in fields if field[0] != SUBPROTOCOL],
            subprotocols=offered or None,
            user_agent_header=None,
            max_size=self._largest_message,
            max_queue=_MOST_WAITING,
            open_timeout=_OPEN_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            ping_interval=_PING_SECONDS,
            ping_timeout=None,
            logger=SILENT,
        )

    async def _take_refusal(self, response: Any) -> RefusedUpstream:
        fields = fields_of(response.headers.raw_items())
        refusal = RefusedUpstream(
            int(response.status_code),
            tuple(field for field in fields if field[0] not in _OF_ONE_BODY),
            bytes(response.body or b""),
        )
        if self.recorder is not None:
            self.recorder.accept(refusal.status, refusal.headers, refusal.body)
            self.recorder.finish_refused()
            await write_due_async(self.recorder)
        return refusal


class SocketProxy:
    """Decides about handshakes for a ``Proxy``. ``largest_message`` is the largest size of a message, in bytes."""

    def __init__(self, proxy: Proxy, *, largest_message: int) -> None:
        self._proxy = proxy
        self._largest_message = largest_message

    async def answer_handshake(
        self,
        target: str,
        headers: Iterable[tuple[str, str]],
        *,
        cassette: str | None = None,
        may_use_key: bool = False,
    ) -> ReplayedConversation | UpstreamConversation:
        """Decide about a handshake. The arguments and errors are those of ``Proxy.answer_request``."""
        scope = self._proxy.scope
        settings = scope.settings
        outgoing = self._proxy.prepare_request(target, headers, may_use_key=may_use_key)
        fields = tuple((name.lower(), value) for name, value in outgoing.headers)
        request = RecordedRequest(
            "GET", f"ws{self._proxy.base.removeprefix('http')}{outgoing.target}", tuple(filter(_is_sent, fields))
        )
        name = cassette or scope.default_cassette
        if name is None and settings.transport in CASSETTE_MODES and not scope.scripts.is_written:
            raise ConfigError(NO_CASSETTE)
        answer = await answer_within(request, scope, settings, name)
        if isinstance(answer, ReplayedConversation):
            return answer
        if self._proxy.upstream.name != "live":
            raise ConfigError(
                f"the upstream {self._proxy.upstream.name!r} answers no WebSockets; give --upstream a URL"
            )
        if outgoing.withholds_key:
            raise KeyWithheld
        return UpstreamConversation(request, answer, self._largest_message)


def _is_sent(field: tuple[str, str]) -> bool:
    name = field[0]
    return name == SUBPROTOCOL or not (name.startswith(_OF_THE_HANDSHAKE) or name in _NOT_SENT)


@functools.cache  # made on first use, because its base class is in the optional library websockets
def _connecting_class() -> Any:
    client: Any = import_optional("websockets.asyncio.client", "websockets", purpose="a WebSocket")

    class Connecting(client.connect):  # type: ignore[misc]
        """Connects without following redirects. The client gets them."""

        def process_redirect(self, error: Exception) -> Exception:
            return error

    return Connecting
