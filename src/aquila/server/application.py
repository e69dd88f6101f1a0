"""The application: any path is answered from a cassette, or passed on to the upstream and recorded."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from aquila.config import DUMMY_KEY
from aquila.errors import AquilaError, CassetteMiss, CassetteNameError, ConfigError, SessionClosed
from aquila.transports.proxy import Answer, Proxy, UpstreamFailed

logger = logging.getLogger("aquila")

CASSETTE_HEADER = "x-aquila-cassette"
TOKEN_HEADER = "x-aquila-token"
LARGEST_BODY = 32 * 1024 * 1024
"""The size of a request's body, in bytes, above which it is refused."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def application(
    proxy: Proxy,
    *,
    token: str | None = None,
    largest_body: int = LARGEST_BODY,
    reset: Callable[[], Awaitable[object]] | None = None,
) -> Starlette:
    """The ASGI application over ``proxy``.

    With ``token`` every request must bring it: as its API key, or in the header ``x-aquila-token``. ``reset`` begins
    anew (``POST /_aquila/reset``): what was recorded is stored, and every recording can be played again.
    """
    door = _Door(proxy, token, largest_body, reset)
    return Starlette(
        routes=[
            Route("/_aquila/health", door.health, methods=["GET"]),
            Route("/_aquila/reset", door.reset, methods=["POST"]),
            Route("/{path:path}", door.anything, methods=_METHODS),
        ]
    )


class _Door:
    def __init__(
        self, proxy: Proxy, token: str | None, largest_body: int, reset: Callable[[], Awaitable[object]] | None
    ) -> None:
        self._proxy = proxy
        self._token = token
        self._largest_body = largest_body
        self._reset = reset

    async def health(self, request: Request) -> Response:
        """Say that the server is there; the only thing that needs no token."""
        return JSONResponse({"status": "ok"})

    async def reset(self, request: Request) -> Response:
        """Begin anew."""
        if not self._may_enter(request):
            return _refused()
        if self._reset is None:
            return failure(404, "this server belongs to a test and begins anew with it", "not_found")
        try:
            await self._reset()
        except AquilaError as error:
            return failure(500, str(error), type(error).__name__)
        return JSONResponse({"status": "ok"})

    async def anything(self, request: Request) -> Response:
        """Answer a request of a client."""
        if not self._may_enter(request):
            return _refused()
        body = await self._body(request)
        if body is None:
            limit = f"the request's body is larger than {self._largest_body} bytes"
            return failure(413, limit, "request_too_large")
        target, cassette = _addressed(request)
        headers = [
            (name, value if self._token is None else value.replace(self._token, DUMMY_KEY))
            for name, value in request.headers.items()
        ]
        try:
            answer = await self._proxy.answer(request.method, target, headers, body, cassette=cassette)
        except CassetteMiss as error:
            return failure(404, str(error), "cassette_miss")
        except (ConfigError, CassetteNameError) as error:
            return failure(400, str(error), type(error).__name__)
        except SessionClosed as error:
            return failure(409, str(error), "session_closed")
        except UpstreamFailed as error:
            return failure(502, f"the upstream did not answer: {error}", "upstream_failed", retry=True)
        except AquilaError as error:
            return failure(500, str(error), type(error).__name__)
        return _Passing(answer)

    def _may_enter(self, request: Request) -> bool:
        if self._token is None:
            return True
        given = [request.headers.get(TOKEN_HEADER, ""), request.headers.get("x-api-key", "")]
        given.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        return any(hmac.compare_digest(one.encode(), self._token.encode()) for one in given)

    async def _body(self, request: Request) -> bytes | None:
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


def _addressed(request: Request) -> tuple[str, str | None]:
    """The path and query that a request asks for, and the cassette that it names: by header, or before the path."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    path = raw.decode("latin-1").partition("?")[0]
    cassette = request.headers.get(CASSETTE_HEADER)
    if path.startswith("/@"):
        named, _, rest = path[2:].partition("/")
        path, cassette = f"/{rest}", unquote(named)
    query = request.scope["query_string"].decode("latin-1")
    return (f"{path}?{query}" if query else path), cassette


def failure(status: int, message: str, code: str, *, retry: bool = False) -> Response:
    """An error in the shape that clients of model providers understand."""
    error = {"message": message, "type": "aquila_error", "code": code, "param": None}
    headers = {} if retry else {"x-should-retry": "false"}
    return JSONResponse({"error": error}, status, headers)


def _refused() -> Response:
    return failure(401, f"this server wants its token, as the API key or in the header {TOKEN_HEADER}", "no_token")


class _Passing(Response):
    """Passes an answer on chunk by chunk, as it comes."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._answer.headers]
        await send({"type": "http.response.start", "status": self._answer.status, "headers": headers})
        async with anyio.create_task_group() as group:
            group.start_soon(_until_left, receive, group.cancel_scope)
            try:
                async for chunk in self._answer.chunks():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except (UpstreamFailed, AquilaError) as error:
                # The answer broke off, so it does for the client: without its last piece the server hangs up.
                logger.warning("an answer broke off: %s", error)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._answer.close()
            group.cancel_scope.cancel()


async def _until_left(receive: Receive, reading: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reading.cancel()
