"""Interception: requests of clients that Aquila did not build are caught where httpx2 and httpx hand them on.

One method each, sync and async: ``HTTPTransport.handle_request`` and ``AsyncHTTPTransport.handle_async_request``. So it
does not matter when a client was made, by whom, or how it is mounted, and transports that never reach the network
(mocks, ASGI, WSGI) are left alone. In force while something holds it: an open scope, or the guard of a test run.

Nothing here imports an HTTP client. A library that is not loaded is patched when it is.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from aquila.intercept import import_hooks
from aquila.transports.http_libraries import HTTPX_FAMILY

_EXECUTORS = "concurrent.futures.thread"

_holders: set[object] = set()
_scopes: set[object] = set()
_patches: list[Patch] = []
_lock = threading.RLock()


def hold(holder: object, *, scope: bool = False) -> None:
    """Put interception in force until ``holder`` releases it. ``scope`` says that cassettes answer meanwhile."""
    with _lock:
        first = not _holders
        _holders.add(holder)
        if scope:
            _scopes.add(holder)
        if first:
            for library in HTTPX_FAMILY:
                import_hooks.call_when_imported(library, _patch_library)
            import_hooks.call_when_imported(_EXECUTORS, _patch_executors)


def release(holder: object) -> None:
    """Take back ``hold``. With the last holder every patched attribute is what it was."""
    with _lock:
        _scopes.discard(holder)
        if holder in _holders:
            _holders.discard(holder)
            if not _holders:
                for library in (*HTTPX_FAMILY, _EXECUTORS):
                    import_hooks.stop_waiting(library)
                while _patches:
                    _patches.pop().undo()


class Patch:
    """One replaced attribute."""

    def __init__(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._original = owner.__dict__.get(name, _ABSENT)
        self._replacement = make(getattr(owner, name))
        setattr(owner, name, self._replacement)

    def undo(self) -> None:
        """Put back what was there, unless a tool has put its own on top: that holds ours, which lets all through."""
        if self._owner.__dict__.get(self._name) is not self._replacement:
            return
        if self._original is _ABSENT:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._original)


_ABSENT = object()


def _patch_library(module: ModuleType) -> None:
    with _lock:
        if not _holders:
            return
        for owner, method, make in (
            (module.HTTPTransport, "handle_request", _catching),
            (module.AsyncHTTPTransport, "handle_async_request", _catching_async),
        ):
            _patches.append(Patch(owner, method, make))
            _patches.append(Patch(owner, "__init__", _deferring))


def _patch_executors(module: ModuleType) -> None:
    """Let what an own request runs in an executor, such as resolving a name, through too."""
    from aquila.transports.own_requests import share_with_executors

    with _lock:
        if _holders:
            _patches.append(Patch(module.ThreadPoolExecutor, "submit", share_with_executors))


def _answering(request: Any) -> Any:
    """The scope that answers a request, or None."""
    if not _holders:
        return None
    from aquila.intercept.policy import find_answering_scope  # here: test runs without a request need not load it

    url = request.url
    return find_answering_scope(request.method, url.scheme, url.host, url.port, url.path)


def _catching(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def handle_request(self: Any, request: Any) -> Any:
        scope = _answering(request)
        if scope is None:
            return original(self, request)
        from aquila.transports import intercepted_requests

        return intercepted_requests.answer_request(scope, request, functools.partial(original, self))

    return handle_request


def _catching_async(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def handle_async_request(self: Any, request: Any) -> Any:
        scope = _answering(request)
        if scope is None:
            return await original(self, request)
        from aquila.transports import intercepted_requests

        return await intercepted_requests.answer_request_async(scope, request, functools.partial(original, self))

    return handle_async_request


def _is_own_request() -> bool:
    from aquila.transports.own_requests import is_own_request

    return is_own_request()


def _deferring(original: Callable[..., None]) -> Callable[..., None]:
    """Let a transport that is made while cassettes answer build its pool when it needs one.

    Building it loads every certificate authority of the system, which takes longer than a whole small test.
    """

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        plain = not args and kwargs.get("verify", True) is True and kwargs.get("cert") is None
        if _scopes and plain and not isinstance(kwargs.get("proxy"), str) and not _is_own_request():
            self._pool = DeferredPool(self, functools.partial(original, self, **kwargs))
        else:
            original(self, *args, **kwargs)

    return __init__


class DeferredPool:
    """Stands where a transport keeps its connection pool, until the pool is really used; then the pool stands there."""

    def __init__(self, transport: Any, build: Callable[[], None]) -> None:
        self._transport = transport
        self._build = build
        self._building = threading.Lock()

    def _real(self) -> Any:
        with self._building:
            if self._transport._pool is self:
                self._build()
        return self._transport._pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    # Opening and closing what was never built leaves it so.

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def close(self) -> None:
        """Nothing to close."""

    async def aclose(self) -> None:
        """Nothing to close."""
