"""The ASGI application: it passes each request to ``transports.callers.proxy``, whatever its path.

The proxy answers from a cassette, or asks the upstream and records.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aquila.errors import AquilaError, MissingDependency
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional
from aquila.recording.environment import DUMMY_KEY
from aquila.server.access_log import AccessLog, RequestLog, note_outcome, target_of
from aquila.server.admission import Admission
from aquila.server.connection import CUT_ANSWER
from aquila.server.failures import NO_UPGRADE, NO_WEB_SOCKETS, WITHOUT_TOKEN, make_response
from aquila.server.targets import find_obstacle, read_target
from aquila.server.waiting_clients import ClientLeft, while_client_waits
from aquila.transports.callers.failures import Failure, explain_failure
from aquila.transports.callers.proxy import KeyWithheld, ProxiedAnswer, Proxy, UpstreamFailed
from aquila.transports.wire import encode_headers

if TYPE_CHECKING:
    from aquila.server import web_sockets
    from aquila.server.web_sockets import WebSockets
else:
    lazy_modules(globals(), "aquila.server: web_sockets")

logger = logging.getLogger("aquila")

LARGEST_BODY = 32 * 1024 * 1024
"""The largest body of a request that is accepted, in bytes."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def build_application(
    proxy: Proxy,
    admission: Admission,
    *,
    largest_body: int = LARGEST_BODY,
    reset: Callable[[], Awaitable[object]] | None = None,
    log: RequestLog | None = None,
) -> Starlette:
    """Build the ASGI application that answers clients through ``proxy`` if ``admission`` admits them.

    ``largest_body`` is in bytes. ``POST /_aquila/reset`` calls ``reset``, which stores what was recorded; each
    recording can then be played again. ``log`` gets a line for each request.
    """
    endpoints = _ServeEndpoints(proxy, admission, largest_body, reset)
    own = [
        Route("/health", endpoints.report_health, methods=["GET"]),
        Route("/misses", endpoints.report_misses, methods=["GET"]),
        Route("/reset", endpoints.reset_scope, methods=["POST"]),
    ]
    application = Starlette(
        routes=[Mount("/_aquila", routes=own), Route("/{path:path}", endpoints.answer_request, methods=_METHODS)],
        middleware=[*([Middleware(AccessLog, log)] if log else []), Middleware(_Gate, admission)],
    )
    # Cached for the life of the application. The first handshake imports the module, which most servers never need.
    application.state.find_web_sockets = functools.cache(lambda: _open_web_sockets(proxy, admission, largest_body, log))
    return application


def _open_web_sockets(
    proxy: Proxy, admission: Admission, largest_message: int, log: RequestLog | None
) -> WebSockets | None:
    """Return the object that answers WebSockets; None if the library ``websockets`` is not installed."""
    try:
        import_optional("websockets.asyncio.server", "websockets", purpose="a WebSocket")
    except MissingDependency:
        return None
    return web_sockets.WebSockets(proxy, admission, largest_message=largest_message, log=log)


class _Gate:
    """Refuses clients that are not admitted, before the body of their request is read."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        failure = self._admission.find_rejection(request.headers)
        if failure is None and request.headers.get("upgrade", "").lower() == "websocket":
            # ``BoundedConnection`` takes over valid handshakes. Only those arrive here for which the library is
            # missing, or that lack ``Connection: Upgrade``.
            failure = NO_WEB_SOCKETS if request.app.state.find_web_sockets() is None else NO_UPGRADE
        try:
            await (self._app if failure is None else _refuse(request, failure))(scope, receive, send)
        except asyncio.CancelledError:  # the server ends, and does not wait for this answer any longer
            note_outcome(request, "server ended")
            _cut_answer(request)


class _ServeEndpoints:
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
            return _refuse(request, WITHOUT_TOKEN)
        if self._reset is None:
            of_test = "this server belongs to a test, and is reset when the test ends"
            return make_response(Failure(404, "not_found", of_test))
        try:
            await self._reset()
        except AquilaError as error:
            return make_response(Failure(500, type(error).__name__, str(error)))
        return JSONResponse({"status": "ok"})

    async def report_misses(self, request: Request) -> Response:
        """List the misses since the server started or was reset."""
        if self._lacks_token(request):
            return _refuse(request, WITHOUT_TOKEN)
        return JSONResponse({"misses": [str(miss) for miss in self._proxy.scope.misses.hear()]})

    async def answer_request(self, request: Request) -> Response:
        """Answer a client's request from the cassette or the upstream."""
        target, cassette = read_target(target_of(request), request.headers)
        obstacle = find_obstacle(request.method, target, request.headers, self._admission, self._proxy)
        if obstacle is not None:
            return _refuse(request, obstacle)
        try:
            body = await self._read_body(request)
            if body is None:
                limit = f"the request's body is larger than {self._largest_body} bytes"
                return _refuse(request, Failure(413, "request_too_large", limit))
            # An answer may take minutes to begin, and the client may leave meanwhile.
            asking = self._ask_proxy(request, target, cassette, body)
            return await while_client_waits(asking, _wait_until_left(request.receive))
        except (ClientDisconnect, ClientLeft):  # a request with a part of its body is not answered
            note_outcome(request, "left")
            return _NoAnswer()

    async def _ask_proxy(self, request: Request, target: str, cassette: str | None, body: bytes) -> Response:
        token = self._admission.token
        # The token must reach neither the upstream nor a cassette.
        headers = [(name, value.replace(token, DUMMY_KEY)) for name, value in request.headers.items()]
        try:
            answer = await self._proxy.answer_request(
                request.method,
                target.replace(token, DUMMY_KEY),
                headers,
                body,
                cassette=cassette,
                may_use_key=self._admission.is_shown(request.headers, target),
            )
        except (AquilaError, KeyWithheld, UpstreamFailed) as error:
            return _refuse(request, explain_failure(error))
        return _StreamedAnswer(answer)

    def _lacks_token(self, request: Request) -> bool:
        return self._admission.needs_token and not self._admission.is_shown(request.headers, target_of(request))

    async def _read_body(self, request: Request) -> bytes | None:
        """Return the body, or None if it is too large. Starlette raises its own error if the client leaves."""
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._largest_body:
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._largest_body:
                return None
        return bytes(body)


def _refuse(request: Request, failure: Failure) -> Response:
    note_outcome(request, failure.outcome)
    return make_response(failure)


async def _wait_until_left(receive: Receive) -> None:
    """Wait until the client of a request has left. The body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _cut_answer(request: Request) -> None:
    cut: Callable[[], None] | None = getattr(request.state, CUT_ANSWER, None)
    if cut is not None:  # servers other than Aquila's have none
        cut()


class _NoAnswer(Response):
    """An empty response, because the client has left."""

    # Without Starlette's own ``__init__``, which would prepare a body and headers. It reads only ``background``.
    def __init__(self) -> None:
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pass


class _StreamedAnswer(Response):
    """Passes an answer to the client chunk by chunk, as it arrives."""

    def __init__(self, answer: ProxiedAnswer) -> None:
        self._answer = answer
        self.background = None
        self._is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        note_outcome(request, self._answer.origin)
        broke_off = False
        headers = encode_headers(self._answer.headers)
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_when_client_leaves, receive, group.cancel_scope, request)
            try:
                try:
                    await send({"type": "http.response.start", "status": self._answer.status, "headers": headers})
                    async for chunk in self._answer.chunks():
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    self._is_over = True
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._answer.close()
            except (UpstreamFailed, AquilaError) as error:  # of the close, too: what has arrived cannot be stored
                self._is_over = broke_off = True
                self._note_broken(request, error)
            group.cancel_scope.cancel()
        if broke_off:
            _cut_answer(request)  # so the client's answer breaks off too

    def _note_broken(self, request: Request, error: Exception) -> None:
        # A recorded answer that breaks off as it did in the recording is no reason for a warning.
        as_recorded = self._answer.origin == "replayed" and isinstance(error, UpstreamFailed)
        logger.log(logging.INFO if as_recorded else logging.WARNING, "an answer broke off: %s", error)
        note_outcome(request, f"{self._answer.origin}, broke off")

    async def _cancel_when_client_leaves(self, receive: Receive, reading: anyio.CancelScope, request: Request) -> None:
        await _wait_until_left(receive)
        if not self._is_over:
            note_outcome(request, f"{self._answer.origin}, client left")
        reading.cancel()
