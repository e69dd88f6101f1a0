"""Parts of the handshakes of WebSockets, for both sides."""

from __future__ import annotations

import http
import logging
from collections.abc import Iterable
from typing import Any

from aquila.cassettes.model import Headers

SUBPROTOCOL = "sec-websocket-protocol"

CONNECT_ERROR, CONNECT_TIMEOUT = "ConnectError: ", "ConnectTimeout: "
"""The beginnings of recorded errors of handshakes for which no connection was made."""

NO_ANSWER = "RemoteProtocolError: the connection ended without a valid answer"
"""The recorded error of a handshake that got no valid answer."""

OF_THE_CONNECTION = frozenset({"connection", "upgrade", "content-length", "transfer-encoding", "content-encoding"})
"""Fields of an answer that belong to one connection, and are not replayed."""

SILENT = logging.Logger("aquila.websocket", logging.CRITICAL + 1)
"""A logger without output for the library ``websockets``, outside of logging's tree. Tests that check the log must not
see Aquila's own use of the library."""


def fields_of(rows: Iterable[tuple[Any, Any]]) -> Headers:
    """Return header fields of any library as texts, their names in lower case."""
    return tuple((str(name).lower(), str(value)) for name, value in rows)


def fields_of_acceptance(recorded: Headers, *, offers_subprotocol: bool) -> Headers:
    """Return the recorded fields that are replayed, with the subprotocol if the client offers one."""
    return tuple(
        (name, value)
        for name, value in recorded
        if name not in OF_THE_CONNECTION
        and (not name.startswith("sec-websocket-") or (name == SUBPROTOCOL and offers_subprotocol))
    )


def replace_fields(headers: Any, fields: Iterable[tuple[str, str]]) -> None:
    """Put fields into the ``headers`` of an answer, in the place of those that the library has made: it has a date."""
    fields = tuple(fields)
    for name, _ in fields:
        headers.pop(name, None)
    for name, value in fields:
        headers[name] = value  # adds one more, as the headers of `websockets` do


def phrase_of(status: int) -> str:
    """Return the reason phrase of an HTTP status; an empty text for an unknown status."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
