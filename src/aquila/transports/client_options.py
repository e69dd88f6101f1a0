"""The options of ``http_client`` and ``async_http_client``, for annotations. Aquila itself imports them only for type
checkers.

Options of ``httpx2.Client`` that configure its own transport (``verify``, ``cert``, ``http2``, ``limits``) are not
among them: with a transport of Aquila's they would have no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import httpx2


class HttpClientOptions(TypedDict, total=False):
    """Options of an httpx2 client; the timeout is in seconds.

    Examples:
        >>> import httpx2
        >>> from typing import Unpack
        >>> def open_client(cassette: str, **options: Unpack[aquila.HttpClientOptions]) -> httpx2.Client:
        ...     return aquila.http_client(cassette=cassette, **options)
        >>> open_client("jobs/summary", timeout=10).timeout.read
        10
    """

    auth: httpx2.Auth | tuple[str, str] | Callable[[httpx2.Request], httpx2.Request] | None
    params: Mapping[str, Any] | Sequence[tuple[str, Any]] | str | None
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None
    cookies: Mapping[str, str] | None
    timeout: float | httpx2.Timeout | None
    follow_redirects: bool
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]] | None
    base_url: str | httpx2.URL
    default_encoding: str | Callable[[bytes], str | None]
