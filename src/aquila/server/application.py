"""The ASGI application: it answers any path from a cassette, or passes it on to the upstream and records it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aquila.config import DUMMY_KEY
from aquila.errors import AquilaError, CassetteMiss, CassetteNameError, ConfigError, SessionClosed
from aquila.intercept import side_requests
from aquila.server.access_log import AccessLog, RequestLog, note_outcome, target_of
from aquila.server.admission import TOKEN_HEADER, Admission, Rejection
from aquila.transports.proxy import Answer, KeyWithheld, Proxy, UpstreamFailed

logger = logging.getLogger("aquila")

CASSETTE_HEADER = "x-aquila-cassette"
LARGEST_BODY = 32 * 1024 * 1024
"""The size of a request's body, in bytes, above which it is refused."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def build_application(
    proxy: Proxy,
    admission: Admission,
    *,
    largest_body: int = LARGEST_BODY,
    reset: Callable[[], Awaitable[object]] | None = None,
    log: RequestLog | None = None,
) -> Starlette:
    """Build the ASGI application that answers through ``proxy`` whom ``admission`` lets in.

    ``largest_body`` is in bytes. ``POST /_aquila/reset`` calls ``reset``, which stores what was recorded; every
    recording can then be played again. ``log`` takes a line for each request.
    """
    endpoints = _Endpoints(proxy, admission, largest_body, reset)
    own = [
        Route("/health", endpoints.report_health, methods=["GET"]),
        Route("/reset", endpoints.reset_scope, methods=["POST"]),
    ]
    return Starlette(
        routes=[Mount("/_aquila", routes=own), Route("/{path:path}", endpoints.answer_request, methods=_METHODS)],
        middleware=[*([Middleware(AccessLog, log)] if log else []), Middleware(_Gate, admission)],
    )


class _Gate:
    """Refuses whom the server does not answer, before anything of the request is read."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        rejection = self._admission.find_rejection(request.headers)
        if rejection is None and request.headers.get("upgrade", "").lower() == "websocket":
            rejection = Rejection(501, "no_websocket", "this server does not speak WebSocket")
        if rejection is None:
            await self._app(scope, receive, send)
        else:
            answer = _refuse(request, rejection.status, rejection.message, rejection.code)
            await answer(scope, receive, send)


class _Endpoints:
    def __init__(
        self, proxy: Proxy, admission: Admission, largest_body: int, reset: Callable[[], Awaitable[object]] | None
    ) -> None:
        self._proxy = proxy
        self._admission = admission
        self._largest_body = largest_body
        self._reset = reset

    async def report_health(self, request: Request) -> Response:
        """Say that the server is running. This is the only route that needs no token."""
        return JSONResponse({"status": "ok"})

    async def reset_scope(self, request: Request) -> Response:
        """Store what was recorded, and let every recording be played again."""
        if self._lacks_token(request):
            return _refuse_without_token(request)
        if self._reset is None:
            return make_error_response(404, "this server belongs to a test, and the test's end resets it", "not_found")
        try:
            await self._reset()
        except AquilaError as error:
            return make_error_response(500, str(error), type(error).__name__)
        return JSONResponse({"status": "ok"})

    async def answer_request(self, request: Request) -> Response:
        """Answer a client's request from the cassette or the upstream."""
        if self._lacks_token(request):
            return _refuse_without_token(request)
        target, cassette = _read_target(request)
        if _leaves_base(target):
            return _refuse(
                request, 400, "a path that leads upwards could leave that of the upstream", "invalid_request"
            )
        if self._is_side_request(request.method, target):
            asked = f"{request.method} {target.partition('?')[0]}"
            message = f"{asked} is a side request, which is never sent nor recorded (aquila_side_requests)"
            return _refuse(request, 502, message, "side_request")
        try:
            body = await self._read_body(request)
        except ClientDisconnect:  # what has come of the body is no request
            note_outcome(request, "left")
            return _NoAnswer()
        if body is None:
            limit = f"the request's body is larger than {self._largest_body} bytes"
            return _refuse(request, 413, limit, "request_too_large")
        return await self._ask_proxy(request, target, cassette, body)

    async def _ask_proxy(self, request: Request, target: str, cassette: str | None, body: bytes) -> Response:
        token = self._admission.token
        headers = [(name, value.replace(token, DUMMY_KEY)) for name, value in request.headers.items()]
        try:
            answer = await self._proxy.answer_request(
                request.method,
                target,
                headers,
                body,
                cassette=cassette,
                may_use_key=self._admission.is_shown(request.headers),
            )
        except CassetteMiss as error:
            note_outcome(request, "missed")
            return make_error_response(404, str(error), "cassette_miss")
        except (ConfigError, CassetteNameError) as error:
            return _refuse(request, 400, str(error), type(error).__name__)
        except KeyWithheld:
            return _refuse(request, 401, _KEY_WITHHELD, "no_token")
        except SessionClosed as error:
            return _refuse(request, 409, str(error), "session_closed")
        except UpstreamFailed as error:
            note_outcome(request, "failed")
            return make_error_response(502, f"the upstream did not answer: {error}", "upstream_failed", retry=True)
        except AquilaError as error:
            note_outcome(request, "failed")
            return make_error_response(500, str(error), type(error).__name__)
        return _StreamedAnswer(answer)

    def _is_side_request(self, method: str, target: str) -> bool:
        settings, url = self._proxy.settings, urlsplit(self._proxy.base + target)
        return settings.transport != "live" and side_requests.is_side_request(
            method, url.hostname or "", url.port, url.path, settings.side_requests
        )

    def _lacks_token(self, request: Request) -> bool:
        return self._admission.needs_token and not self._admission.is_shown(request.headers)

    async def _read_body(self, request: Request) -> bytes | None:
        """Return the body, or None for one that is too large. The client may leave meanwhile."""
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._largest_body:
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._largest_body:
                return None
        return bytes(body)


def _read_target(request: Request) -> tuple[str, str | None]:
    """Return the path with query that a request asks for, and the cassette that its header or path names, if any."""
    path, mark, query = target_of(request).partition("?")
    cassette = request.headers.get(CASSETTE_HEADER)
    if path.startswith("/@"):
        named, _, rest = path[2:].partition("/")
        path, cassette = f"/{rest}", unquote(named)
    return path + mark + query, cassette


def _leaves_base(target: str) -> bool:
    """Whether a path has a segment that leads upwards, also one in which the upstream would find it."""
    path = unquote(target.partition("?")[0]).replace("\\", "/")
    return ".." in path.split("/")


def make_error_response(status: int, message: str, code: str, *, retry: bool = False) -> Response:
    """Make an error response as clients of model providers expect it. ``retry`` lets them send the request again."""
    error = {"message": message, "type": "aquila_error", "code": code, "param": None}
    headers = {} if retry else {"x-should-retry": "false"}
    return JSONResponse({"error": error}, status, headers)


def _refuse(request: Request, status: int, message: str, code: str) -> Response:
    note_outcome(request, "refused")
    return make_error_response(status, message, code)


def _refuse_without_token(request: Request) -> Response:
    message = f"this server needs its token: send it as the API key or in the header {TOKEN_HEADER}"
    return _refuse(request, 401, message, "no_token")


_KEY_WITHHELD = (
    "this request has no API key of its own and would have to be sent. The server uses its own key only for clients "
    "that show its token: send the token (aquila serve printed it when it started; the fixture has it as "
    f"aquila_server.token) as the API key or in the header {TOKEN_HEADER}"
)


class _NoAnswer(Response):
    """Answers nothing: the client has left."""

    def __init__(self) -> None:
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pass


class _StreamedAnswer(Response):
    """Passes an answer to the client chunk by chunk, as it arrives."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.background = None
        self._is_sent = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        note_outcome(request, self._answer.origin)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._answer.headers]
        await send({"type": "http.response.start", "status": self._answer.status, "headers": headers})
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_when_client_leaves, receive, group.cancel_scope, request)
            try:
                async for chunk in self._answer.chunks():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._is_sent = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except (UpstreamFailed, AquilaError) as error:
                # No final body message: the server then closes the connection, so the client sees a broken answer too.
                logger.warning("an answer broke off: %s", error)
                note_outcome(request, f"{self._answer.origin}, broke off")
            finally:
                with anyio.CancelScope(shield=True):
                    await self._answer.close()
            group.cancel_scope.cancel()

    async def _cancel_when_client_leaves(self, receive: Receive, reading: anyio.CancelScope, request: Request) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self._is_sent:
            note_outcome(request, f"{self._answer.origin}, client left")
        reading.cancel()
