"""Every other HTTP client: requests, urllib3, botocore, httplib2 and aiohttp, through vcrpy's stubs (extra ``vcr``).

vcrpy's patches are many, and its stubs hold back an answer until it is whole. So they are put in place only when a
client makes a request that a scope answers. Until then one method each is patched of urllib3 (on which requests and
botocore are built), httplib2 and aiohttp.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from aquila.intercept.import_hooks import ImportHooks
from aquila.intercept.patching import Patch, PatchSet, Undoable
from aquila.intercept.policy import asks_model, find_answering_scope
from aquila.optional import import_optional


class VcrClients:
    """Interception of the clients that vcrpy knows. In force while its ``patches`` are."""

    def __init__(self, hooks: ImportHooks) -> None:
        self.patches = PatchSet(
            hooks, {"urllib3": self._patch_urllib3, "httplib2": self._patch_httplib2, "aiohttp": self._patch_aiohttp}
        )
        # Whether vcrpy's stubs are among the patches. They take this back themselves when they are undone.
        self._has_stubs = False

    def _patch_urllib3(self, module: ModuleType) -> Iterable[Undoable]:
        # The method that every request of urllib3 goes through, before a connection is chosen.
        yield Patch(module.HTTPConnectionPool, "urlopen", self._catch_urllib3)

    def _patch_httplib2(self, module: ModuleType) -> Iterable[Undoable]:
        # The one public method that makes a request.
        yield Patch(module.Http, "request", self._catch_httplib2)

    def _patch_aiohttp(self, module: ModuleType) -> Iterable[Undoable]:
        # `get`, `post` and `request` all call this private method, and vcrpy patches it too.
        yield Patch(module.ClientSession, "_request", self._catch_aiohttp)

    def _catch_urllib3(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def urlopen(pool: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            port = f":{pool.port}" if pool.port else ""
            whole = url if "://" in url else f"{pool.scheme}://{pool.host}{port}{url}"
            self._prepare_stubs(method, whole)
            return original(pool, method, url, *args, **kwargs)

        return urlopen

    def _catch_httplib2(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def request(client: Any, uri: str, method: str = "GET", *args: Any, **kwargs: Any) -> Any:
            self._prepare_stubs(method, uri)
            return original(client, uri, method, *args, **kwargs)

        return request

    def _catch_aiohttp(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def request(session: Any, method: str, url: Any, **kwargs: Any) -> Any:
            # The private method that joins a session's base URL and a path.
            whole = str(session._build_url(url))
            if not self._is_answered(method, whole):
                return await original(session, method, url, **kwargs)
            from aquila.intercept import vcr_stubs  # noqa: PLC0415 - needs vcrpy

            return await vcr_stubs.request_aiohttp(original, session, method, whole, kwargs)

        return request

    def _is_answered(self, method: str, url: str) -> bool:
        """Whether a scope answers a request. If not, it goes its own way.

        A request for something else than a model is not answered if vcrpy is missing. One for a model raises
        ``MissingDependency`` then.
        """
        if not self.patches.in_force:
            return False
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        answering = find_answering_scope(method, parts.scheme, host, port, parts.path)
        if answering is None:
            return False
        try:
            # Without path and user: they may hold secrets.
            import_optional("vcr", "vcr", purpose=f"{method} {parts.scheme}://{host}: a cassette for this client")
        except ImportError:
            if asks_model(host, port, parts.path, answering.settings):
                raise
            return False
        return True

    def _prepare_stubs(self, method: str, url: str) -> None:
        """Put vcrpy's stubs in place for a request that a scope answers."""
        if not self._has_stubs and self._is_answered(method, url):
            self.patches.add_patches(self._make_stubs)

    def _make_stubs(self) -> Iterable[Undoable]:
        if not self._has_stubs:  # another thread may have been first
            from aquila.intercept.vcr_stubs import VcrPatches  # noqa: PLC0415 - needs vcrpy

            self._has_stubs = True
            yield VcrPatches(on_undo=self._forget_stubs)

    def _forget_stubs(self) -> None:
        self._has_stubs = False
