"""The log: a line for each request with its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Writes the lines. ``redact`` removes secrets from the path and query of a request; ``write`` takes a line."""

    redact: Callable[[str], str]
    write: Callable[[str], None]

    def note(self, method: str, target: str, status: int | None, outcome: str, seconds: float) -> None:
        """Write the line of a request. ``status`` is None if nothing was answered; ``seconds`` is how long it took."""
        shown = self.redact(target)
        if len(shown) > _LONGEST:
            shown = f"{shown[:_LONGEST]}..."
        self.write(f"{method} {shown} {status or '-'} {outcome} {seconds * 1000:.0f} ms")

    def explain(self, text: str) -> None:
        """Write lines below that of a request, with details that are not sent to the client."""
        for line in text.splitlines():
            self.write(f"    {line}".rstrip())


def note_outcome(request: Request, outcome: str) -> None:
    """Note the outcome of a request for the log: ``replayed``, ``recorded``, ``missed``, ``refused``, …"""
    request.state.outcome = outcome


class AccessLog:
    """The ASGI middleware that notes each request in ``log`` once it has ended."""

    def __init__(self, app: ASGIApp, log: RequestLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status: int | None = None

        async def look_and_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        request, began = Request(scope), time.monotonic()
        try:
            await self._app(scope, receive, look_and_send)
        finally:
            outcome = getattr(request.state, "outcome", "answered" if status else "failed")
            self._log.note(request.method, target_of(request), status, outcome, time.monotonic() - began)


def target_of(request: Request) -> str:
    """Return the path of a request with its query, as it was sent."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    query: bytes = request.scope["query_string"]
    path = raw.partition(b"?")[0]
    return (b"%s?%s" % (path, query) if query else path).decode("latin-1")
