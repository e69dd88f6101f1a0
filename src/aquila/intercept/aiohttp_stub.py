"""aiohttp over a scope, through vcrpy's stub, which hands out answers when they are whole."""

from __future__ import annotations

import http
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx2
from vcr.request import Request

from aquila.cassettes.content_codings import DamagedBody, decoder_for
from aquila.intercept.policy import AnsweringScope, find_answering_scope
from aquila.lazy_imports import lazy_modules
from aquila.recording.session import ReplayDecision
from aquila.transports.intercepted_requests import route_for
from aquila.transports.own_requests import own_request
from aquila.transports.record import AnswerRecorder
from aquila.transports.routing import NO_UPSTREAM, CassetteRoute
from aquila.transports.upstreams import Upstream

if TYPE_CHECKING:
    import aiohttp
    from vcr.stubs import aiohttp_stubs
else:
    lazy_modules(globals(), aiohttp="aiohttp", aiohttp_stubs="vcr.stubs.aiohttp_stubs")


class _ScopeAsCassette:
    """What vcrpy's stubs use as their cassette. The scope is looked up anew for each request."""

    skip_patchers = ()
    custom_patches = ()
    write_protected = False
    _path = "aquila"  # private, but the stubs read it for their messages

    def filter_request(self, request: Request) -> Request:
        """Return the request as it is: what is stored is decided elsewhere."""
        return request

    def find_requests_with_most_matches(self, request: Request) -> list[tuple[Request, list[str], list[str]]]:
        """What a redirect leads to, for aiohttp."""
        return [(request, [], [])]

    def can_play_response_for(self, request: Request) -> bool:
        """Whether a request is answered here. Decided once: the stubs ask again. Raises ``CassetteMiss``."""
        return isinstance(_decide_once(request), httpx2.Response)

    def play_response(self, request: Request) -> dict[str, Any]:
        """The answer."""
        answer = _decide_once(request)
        if not isinstance(answer, httpx2.Response):
            raise httpx2.RemoteProtocolError(f"{request.method} {request.host}: the redirect leads out of the cassette")
        headers: dict[str, list[str]] = {}
        for name, value in answer.headers.multi_items():
            headers.setdefault(name, []).append(value)
        status = {"code": answer.status_code, "message": _reason_phrase(answer.status_code)}
        return {"status": status, "headers": headers, "body": {"string": answer.content}}

    def append(self, request: Request, response: dict[str, Any]) -> None:
        """Take in what came from the network: it is stored if the request was to be recorded."""
        recorder = _decide_once(request)
        if not isinstance(recorder, AnswerRecorder):
            return
        body: bytes = response["body"].get("string") or b""
        headers = [
            (name.lower(), value)
            for name, values in response["headers"].items()
            for value in ([values] if isinstance(values, str) else values)
        ]
        if _is_decoded(body, headers):
            headers = [row for row in headers if row[0] not in ("content-encoding", "content-length")]
        recorder.start_answer(httpx2.Response(response["status"]["code"], headers=headers))
        recorder.record_chunk(body)
        recorder.finish_answer()


def _decide_once(request: Request) -> httpx2.Response | AnswerRecorder | None:
    """The answer to a request, or what will record it, or None if it goes its own way.

    The stubs ask several times about one request, so what was decided is kept at the request.
    """
    if not hasattr(request, "_aquila"):
        port = request.parsed_uri.port
        answering = find_answering_scope(request.method, request.scheme, request.host or "", port, request.path)
        request._aquila = None if answering is None else _decide(answering, request)
    decided: httpx2.Response | AnswerRecorder | None = request._aquila
    return decided


def _decide(answering: AnsweringScope, request: Request) -> httpx2.Response | AnswerRecorder:
    headers = [
        (name, value.decode("latin-1") if isinstance(value, bytes) else str(value))
        for name, value in request.headers.items()
    ]
    asked = httpx2.Request(request.method, request.uri, headers=headers, content=_request_body(request))
    # Where the client is its own upstream, the stub makes the request and hands the answer over in `append`.
    route = route_for(*answering, _STUB)
    if isinstance(route, CassetteRoute) and route.upstream in (_STUB, NO_UPSTREAM):
        decision = route.decide(asked)
        if not isinstance(decision, ReplayDecision):
            return route.start_recording(decision)
        answer = route.replay(decision, asked)
    else:
        answer = route.answer(asked)
    answer.read()
    return answer


_STUB = Upstream("live")


def _is_decoded(body: bytes, headers: list[tuple[str, str]]) -> bool:
    """Whether a library has undone a body's content coding already; some do and leave the header as it was."""
    decoder = decoder_for(", ".join(value for name, value in headers if name == "content-encoding"))
    if decoder is None:
        return False
    try:
        decoder.decode(body)
    except DamagedBody:
        return True
    return False


def _request_body(request: Request) -> bytes:
    body = request.body_bytes
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else bytes(body)


def _reason_phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


async def request_aiohttp(
    original: Callable[..., Awaitable[Any]], session: Any, method: str, url: str, kwargs: Any
) -> Any:
    """Make a request of an aiohttp session through vcrpy's stub."""

    async def request_network(*args: Any, **options: Any) -> Any:
        with own_request():
            return await original(*args, **options)

    return await aiohttp_stubs.vcr_request(_ScopeAsCassette(), request_network)(
        session, method, url, **await _with_bytes(session, kwargs)
    )


async def _with_bytes(session: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a request, with its body as the bytes that are sent: they identify the request."""
    data, json = kwargs.get("data"), kwargs.get("json")
    if json is not None and data is None:
        # Private of aiohttp, like `_prepare_headers` below: there is no public way to learn what it will send.
        written = session._json_serialize(json)
        body, content_type = written.encode() if isinstance(written, str) else written, "application/json"
    elif data is None or isinstance(data, (bytes, bytearray, str)) or hasattr(data, "__aiter__"):
        return kwargs
    else:
        form = data if isinstance(data, aiohttp.FormData) else aiohttp.FormData(data)
        payload = form()
        body, content_type = await payload.as_bytes(), payload.content_type
        if payload.headers is not None and "Content-Type" in payload.headers:
            content_type = payload.headers["Content-Type"]
    headers = dict(session._prepare_headers(kwargs.get("headers")))
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content_type
    return {**kwargs, "json": None, "data": body, "headers": headers}
