"""Every other HTTP client: requests, urllib3, botocore, httplib2 and aiohttp, through vcrpy's stubs (extra ``vcr``).

vcrpy's patches are many and its stubs hold back an answer until it is whole, so they are put in place only when a
client makes a request that a scope answers: what stands in the way until then is one method each of urllib3 (which
requests and botocore are built on), httplib2 and aiohttp.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aquila.intercept import import_hooks
from aquila.intercept.httpx_clients import Patch
from aquila.intercept.policy import asks_model, find_answering_scope
from aquila.optional import import_optional

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

_holders: set[object] = set()
_patches: list[Patch] = []
_stubs: Any = None
_lock = threading.RLock()


def hold(holder: object) -> None:
    """Catch these clients until ``holder`` releases them."""
    with _lock:
        first = not _holders
        _holders.add(holder)
        if first:
            for library, patch in _LIBRARIES.items():
                import_hooks.call_when_imported(library, patch)


def release(holder: object) -> None:
    """Take back ``hold``; with the last holder everything is as it was."""
    global _stubs
    with _lock:
        if holder in _holders:
            _holders.discard(holder)
            if not _holders:
                for library in _LIBRARIES:
                    import_hooks.stop_waiting(library)
                if _stubs is not None:
                    _stubs.restore_all()
                    _stubs = None
                while _patches:
                    _patches.pop().undo()


def _answering(method: str, url: str) -> Scope | None:
    """The scope that answers a request; None if it goes its own way, or if vcrpy is missing and no model is asked."""
    if not _holders:
        return None
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    scope = find_answering_scope(method, parts.scheme, host, port, parts.path)
    if scope is None:
        return None
    try:
        # Without path and user: they may hold secrets.
        import_optional("vcr", "vcr", purpose=f"{method} {parts.scheme}://{host}: a cassette for this client")
    except ImportError:
        if asks_model(host, port, parts.path, scope.settings):
            raise
        return None
    return scope


def _put_in_place() -> None:
    global _stubs
    with _lock:
        if _stubs is None and _holders:
            from aquila.intercept import vcr_stubs

            _stubs = vcr_stubs.VcrPatches()


def _through_urllib3(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def urlopen(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        port = f":{self.port}" if self.port else ""
        whole = url if "://" in url else f"{self.scheme}://{self.host}{port}{url}"
        if _stubs is None and _answering(method, whole) is not None:
            _put_in_place()
        return original(self, method, url, *args, **kwargs)

    return urlopen


def _through_httplib2(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def request(self: Any, uri: str, method: str = "GET", *args: Any, **kwargs: Any) -> Any:
        if _stubs is None and _answering(method, uri) is not None:
            _put_in_place()
        return original(self, uri, method, *args, **kwargs)

    return request


def _through_aiohttp(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def request(self: Any, method: str, url: Any, **kwargs: Any) -> Any:
        whole = str(self._build_url(url))
        if _answering(method, whole) is None:
            return await original(self, method, url, **kwargs)
        from aquila.intercept import vcr_stubs

        return await vcr_stubs.aiohttp_request(original, self, method, whole, kwargs)

    return request


def _patch(find: Callable[[ModuleType], Any], name: str, make: Callable[[Any], Any]) -> Callable[[ModuleType], None]:
    def patch(module: ModuleType) -> None:
        with _lock:
            if _holders:
                _patches.append(Patch(find(module), name, make))

    return patch


_LIBRARIES = {
    "urllib3": _patch(lambda module: module.HTTPConnectionPool, "urlopen", _through_urllib3),
    "httplib2": _patch(lambda module: module.Http, "request", _through_httplib2),
    "aiohttp": _patch(lambda module: module.ClientSession, "_request", _through_aiohttp),
}
