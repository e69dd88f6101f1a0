"""What the handshakes of WebSockets are made of, on whichever side."""

from __future__ import annotations

import http
import logging
from typing import Any

from aquila.cassettes.model import Headers

SUBPROTOCOL = "sec-websocket-protocol"

CONNECT_ERROR, CONNECT_TIMEOUT = "ConnectError: ", "ConnectTimeout: "
"""The beginning of a recorded error that says that no connection was made for the handshake."""

OF_THE_CONNECTION = frozenset({"connection", "upgrade", "content-length", "transfer-encoding", "content-encoding"})
"""Fields of an answer that each connection says for itself."""

SILENT = logging.Logger("aquila.websocket", logging.CRITICAL + 1)
"""A logger for the library ``websockets``, outside of logging's tree and without output: tests that check the log must
not see Aquila's own use of the library."""


def fields_of(headers: Any) -> Headers:
    """Return the fields of a request or an answer of ``websockets``, their names in lower case."""
    return tuple((name.lower(), value) for name, value in headers.raw_items())


def fields_of_acceptance(recorded: Headers, *, offers_subprotocol: bool) -> Headers:
    """The recorded fields that do not belong to the handshake itself, and the subprotocol, if one was offered."""
    return tuple(
        (name, value)
        for name, value in recorded
        if name not in OF_THE_CONNECTION
        and (not name.startswith("sec-websocket-") or (name == SUBPROTOCOL and offers_subprotocol))
    )


def phrase_of(status: int) -> str:
    """Return what HTTP calls a status; an empty text for one that it does not know."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
