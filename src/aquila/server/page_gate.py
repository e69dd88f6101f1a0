"""The middleware of Aquila's pages: admission, and header fields that isolate a page in a browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aquila.server.failures import make_response
from aquila.transports.callers.failures import Failure

# Against guessing of content types, framing by other sites, and access from other windows or sites.
_ISOLATING_FIELDS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class PageGate:
    """Refuses clients that are not admitted, and adds header fields that isolate the page to each response.

    ``find_rejection`` returns why a request is not admitted, or None. ``headers`` are further fields of this page.
    Browsers may not cache a response unless it has its own ``cache-control``.
    """

    def __init__(
        self, app: ASGIApp, find_rejection: Callable[[Request], Failure | None], headers: Mapping[str, str]
    ) -> None:
        self._app = app
        self._find_rejection = find_rejection
        self._headers = [(name.encode(), value.encode()) for name, value in {**headers, **_ISOLATING_FIELDS}.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                kept = [] if b"cache-control" in present else [(b"cache-control", b"no-store")]
                message["headers"] = [*message["headers"], *self._headers, *kept]
            await send(message)

        failure = self._find_rejection(Request(scope))
        answer: ASGIApp = self._app if failure is None else make_response(failure)
        await answer(scope, receive, send_with_headers)
