"""Reads the target of a request, over HTTP or a WebSocket, and decides whether it may be answered."""

from __future__ import annotations

import contextlib
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers

from aquila.intercept.http_clients import side_requests
from aquila.server.admission import Admission
from aquila.server.failures import WITHOUT_TOKEN
from aquila.transports.callers.failures import Failure
from aquila.transports.callers.proxy import Proxy

CASSETTE_HEADER = "x-aquila-cassette"


def read_target(target: str, headers: Headers) -> tuple[str, str | None]:
    """Return the path and query that a request asks for, and the cassette that its header or path names, or None.

    A path such as ``/@NAME/v1/models`` names the cassette ``NAME``.
    """
    path, mark, query = target.partition("?")
    cassette = headers.get(CASSETTE_HEADER)
    if cassette is not None:
        with contextlib.suppress(UnicodeError):  # it was read as Latin-1, which few clients send
            cassette = cassette.encode("latin-1").decode()
    if path.startswith("/@"):
        named, _, rest = path[2:].partition("/")
        path, cassette = f"/{rest}", unquote(named)
    return path + mark + query, cassette


def find_obstacle(method: str, target: str, headers: Headers, admission: Admission, proxy: Proxy) -> Failure | None:
    """Return why a request for ``target``, as returned by ``read_target``, may not be answered, or None."""
    if admission.needs_token and not admission.is_shown(headers, target):
        return WITHOUT_TOKEN
    if _leaves_base(target):
        return Failure(400, "invalid_request", "a path with .. could leave the base path of the upstream")
    if "#" in target:
        return Failure(400, "invalid_request", "a request has no fragment: send a # as %23")
    settings, url = proxy.scope.settings, urlsplit(proxy.base + target)
    if settings.transport != "live" and side_requests.is_side_request(
        method, url.hostname or "", url.port, url.path, settings.side_requests
    ):
        asked = f"{method} {target.partition('?')[0]}"
        message = f"{asked} is a side request, which is never sent nor recorded (aquila_side_requests)"
        return Failure(502, "side_request", message)
    return None


def _leaves_base(target: str) -> bool:
    """Whether a path has a segment that leads upwards, which could leave the base path of the upstream."""
    # Also encoded, or with backslashes, because the upstream may decode them.
    path = unquote(target.partition("?")[0]).replace("\\", "/")
    return ".." in path.split("/")
