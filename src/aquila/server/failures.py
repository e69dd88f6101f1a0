"""Errors of the server itself, as responses."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from aquila.optional import install_command
from aquila.transports.callers.failures import TOKEN_HEADER, Failure


def make_response(failure: Failure) -> Response:
    """Return the response that reports a failure."""
    return JSONResponse(failure.body, failure.status, failure.headers)


WITHOUT_TOKEN = Failure(
    401, "no_token", f"this server needs its token: send it as the API key or in the header {TOKEN_HEADER}"
)

NO_UPGRADE = Failure(
    400,
    "no_websocket",
    "a WebSocket needs the header field Connection: Upgrade beside Upgrade: websocket",
)

NO_WEB_SOCKETS = Failure(
    501,
    "no_websocket",
    f"WebSockets need the package websockets here: {install_command('websockets')}",
)
