"""Sends a recorded request again and reads the whole answer, without storing it."""

from __future__ import annotations

import httpx2

from aquila.cassettes.model import RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import AquilaError
from aquila.recording.storing.machine_clock import machine_seconds, milliseconds_since
from aquila.transports.upstreams import find_upstream
from aquila.transports.wire import decode_headers, encode_headers, error_to_text, undo_coding

_CONNECTION_FIELDS = frozenset(
    {
        *("accept-encoding", "connection", "content-encoding", "content-length", "host", "keep-alive"),
        *("proxy-connection", "te", "transfer-encoding", "upgrade"),
    }
)
"""Header fields about the connection and the coding of the body, which is decoded here. httpx2 adds its own."""

_SECONDS_TO_CONNECT = 15.0


class UpstreamTrouble(Exception):
    """The upstream could not be reached, or its answer broke off. The text says why."""


def ask_again(request: RecordedRequest, upstream: str, *, seconds: float) -> RecordedResponse:
    """Send a request to the upstream with the name ``upstream``, and return the whole answer with its times.

    ``seconds`` is the longest silence that is accepted. Raises ``UpstreamTrouble``.
    """
    clock = machine_seconds()
    try:
        sent = httpx2.Request(
            request.method,
            request.url,
            headers=encode_headers(field for field in request.headers if field[0] not in _CONNECTION_FIELDS),
            content=request.body,
            extensions={
                "timeout": {"connect": _SECONDS_TO_CONNECT, "read": seconds, "write": seconds, "pool": None},
            },
        )
        response = find_upstream(upstream).send_request(sent)
        started = milliseconds_since(clock)
        try:
            chunks = [RecordedChunk(data, milliseconds_since(clock)) for data in _raw_chunks(response)]
        finally:
            response.close()
    except httpx2.TransportError as error:
        raise UpstreamTrouble(error_to_text(error)) from error
    except (AquilaError, OSError, httpx2.InvalidURL) as error:
        raise UpstreamTrouble(str(error)) from error
    ended = milliseconds_since(clock)
    headers, decoded = undo_coding(decode_headers(response.headers.raw), chunks)
    return RecordedResponse(response.status_code, headers, decoded, started=started, ended=ended)


def _raw_chunks(response: httpx2.Response) -> list[bytes]:
    if isinstance(response.stream, httpx2.SyncByteStream):
        return [chunk for chunk in response.stream if chunk]
    return [response.content]
