"""The ASGI application: it answers any path from a cassette, or passes it on to the upstream and records it."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from aquila.config import DUMMY_KEY
from aquila.errors import AquilaError, CassetteMiss, CassetteNameError, ConfigError, SessionClosed
from aquila.intercept import side_requests
from aquila.transports.proxy import Answer, Proxy, UpstreamFailed

logger = logging.getLogger("aquila")

CASSETTE_HEADER = "x-aquila-cassette"
TOKEN_HEADER = "x-aquila-token"
LARGEST_BODY = 32 * 1024 * 1024
"""The size of a request's body, in bytes, above which it is refused."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def build_application(
    proxy: Proxy,
    *,
    token: str | None = None,
    largest_body: int = LARGEST_BODY,
    reset: Callable[[], Awaitable[object]] | None = None,
) -> Starlette:
    """Build the ASGI application that answers through ``proxy``.

    With ``token`` every request must carry it as its API key or in the header ``x-aquila-token``. ``largest_body`` is
    in bytes. ``POST /_aquila/reset`` calls ``reset``, which stores what was recorded; every recording can then be
    played again.
    """
    endpoints = _Endpoints(proxy, token, largest_body, reset)
    return Starlette(
        routes=[
            Route("/_aquila/health", endpoints.report_health, methods=["GET"]),
            Route("/_aquila/reset", endpoints.reset_scope, methods=["POST"]),
            Route("/{path:path}", endpoints.answer_request, methods=_METHODS),
        ]
    )


class _Endpoints:
    def __init__(
        self, proxy: Proxy, token: str | None, largest_body: int, reset: Callable[[], Awaitable[object]] | None
    ) -> None:
        self._proxy = proxy
        self._token = token
        self._largest_body = largest_body
        self._reset = reset

    async def report_health(self, request: Request) -> Response:
        """Say that the server is running. This is the only route that needs no token."""
        return JSONResponse({"status": "ok"})

    async def reset_scope(self, request: Request) -> Response:
        """Store what was recorded, and let every recording be played again."""
        if not self._has_token(request):
            return _refuse_without_token()
        if self._reset is None:
            return make_error_response(404, "this server belongs to a test, and the test's end resets it", "not_found")
        try:
            await self._reset()
        except AquilaError as error:
            return make_error_response(500, str(error), type(error).__name__)
        return JSONResponse({"status": "ok"})

    async def answer_request(self, request: Request) -> Response:
        """Answer a client's request from the cassette or the upstream."""
        if not self._has_token(request):
            return _refuse_without_token()
        body = await self._read_body(request)
        if body is None:
            limit = f"the request's body is larger than {self._largest_body} bytes"
            return make_error_response(413, limit, "request_too_large")
        target, cassette = _read_target(request)
        if self._is_side_request(request.method, target):
            return make_error_response(
                502,
                f"{request.method} {target.partition('?')[0]} is a side request, which is never sent nor recorded "
                "(aquila_side_requests)",
                "side_request",
            )
        headers = [
            (name, value if self._token is None else value.replace(self._token, DUMMY_KEY))
            for name, value in request.headers.items()
        ]
        try:
            answer = await self._proxy.answer_request(request.method, target, headers, body, cassette=cassette)
        except CassetteMiss as error:
            return make_error_response(404, str(error), "cassette_miss")
        except (ConfigError, CassetteNameError) as error:
            return make_error_response(400, str(error), type(error).__name__)
        except SessionClosed as error:
            return make_error_response(409, str(error), "session_closed")
        except UpstreamFailed as error:
            return make_error_response(502, f"the upstream did not answer: {error}", "upstream_failed", retry=True)
        except AquilaError as error:
            return make_error_response(500, str(error), type(error).__name__)
        return _StreamedAnswer(answer)

    def _is_side_request(self, method: str, target: str) -> bool:
        settings, url = self._proxy.settings, urlsplit(self._proxy.base + target)
        return settings.transport != "live" and side_requests.is_side_request(
            method, url.hostname or "", url.port, url.path, settings.side_requests
        )

    def _has_token(self, request: Request) -> bool:
        if self._token is None:
            return True
        given = [request.headers.get(TOKEN_HEADER, ""), request.headers.get("x-api-key", "")]
        given.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        return any(hmac.compare_digest(one.encode(), self._token.encode()) for one in given)

    async def _read_body(self, request: Request) -> bytes | None:
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._largest_body:
            return None
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > self._largest_body:
                    return None
        except ClientDisconnect:
            pass
        return bytes(body)


def _read_target(request: Request) -> tuple[str, str | None]:
    """Return the path with query that a request asks for, and the cassette that its header or path names, if any."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    path = raw.decode("latin-1").partition("?")[0]
    cassette = request.headers.get(CASSETTE_HEADER)
    if path.startswith("/@"):
        named, _, rest = path[2:].partition("/")
        path, cassette = f"/{rest}", unquote(named)
    query = request.scope["query_string"].decode("latin-1")
    return (f"{path}?{query}" if query else path), cassette


def make_error_response(status: int, message: str, code: str, *, retry: bool = False) -> Response:
    """Make an error response as clients of model providers expect it. ``retry`` lets them send the request again."""
    error = {"message": message, "type": "aquila_error", "code": code, "param": None}
    headers = {} if retry else {"x-should-retry": "false"}
    return JSONResponse({"error": error}, status, headers)


def _refuse_without_token() -> Response:
    return make_error_response(
        401, f"this server needs its token: send it as the API key or in the header {TOKEN_HEADER}", "no_token"
    )


class _StreamedAnswer(Response):
    """Passes an answer to the client chunk by chunk, as it arrives."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._answer.headers]
        await send({"type": "http.response.start", "status": self._answer.status, "headers": headers})
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when_client_leaves, receive, group.cancel_scope)
            try:
                async for chunk in self._answer.chunks():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except (UpstreamFailed, AquilaError) as error:
                # No final body message: the server then closes the connection, so the client sees a broken answer too.
                logger.warning("an answer broke off: %s", error)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._answer.close()
            group.cancel_scope.cancel()


async def _cancel_when_client_leaves(receive: Receive, reading: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reading.cancel()
