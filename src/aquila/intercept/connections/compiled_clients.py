"""The guard for libraries whose requests an extension in Rust or Go sends, without Python's sockets and functions.

Each is checked where it gets its URL, like the libraries of ``native_clients``. No cassette can answer it. To add a
library, add a row to ``_REQUESTS``, and its module to ``activation``.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from aquila.errors import ConfigError
from aquila.intercept import policy
from aquila.intercept.connections.native_clients import check_url, split_url
from aquila.intercept.connections.socket_guard import SocketGuard, calling_first, find_argument
from aquila.intercept.patching import Patch, Undoable

_VERBS = ("delete", "get", "head", "options", "patch", "post", "put", "request", "trace", "websocket")

_AFTER_METHOD = ("request", "_stream", "execute", "execute_request", "stream")
"""The functions that take the method of a request before its URL. For the others the URL comes first."""

_REQUESTS: dict[str, dict[str, tuple[str, ...]]] = {
    "httpr": {"RClient": ("request", "_stream")},
    "primp": dict.fromkeys(("", "Client", "AsyncClient"), _VERBS),
    "pyqwest": dict.fromkeys(("Client", "SyncClient"), (*_VERBS, "execute", "stream")),
    "rnet": dict.fromkeys(("", "Client", "BlockingClient"), _VERBS),
    "tls_client.sessions": {"Session": ("execute_request",)},
    "wreq": dict.fromkeys(("", "Client", "blocking", "blocking.Client"), _VERBS),
}
"""For each module its classes and submodules, and their functions that take a URL. "" is the module itself.

No version of a library has all of these functions.
"""

_TRANSPORTS: dict[str, dict[str, str]] = {"pyqwest": {"HTTPTransport": "execute", "SyncHTTPTransport": "execute_sync"}}
"""For each module its transports, which other clients use too, and their function that takes a request with a URL."""

LIBRARIES = ("baml_py", "tensorzero", *_REQUESTS)
"""The modules that are patched here."""


class CompiledClients:
    """The patches of these libraries, for one guard."""

    def __init__(self, guard: SocketGuard) -> None:
        self._guard = guard

    def patch_library(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch the imported module of one of these libraries."""
        if module.__name__ == "baml_py":
            return self._patch_baml(module)
        if module.__name__ == "tensorzero":
            return self._patch_tensorzero(module)
        return self._patch_requests(module)

    def _patch_requests(self, module: ModuleType) -> Iterable[Undoable]:
        library = module.__name__.partition(".")[0]
        for owner_name, functions in _REQUESTS[module.__name__].items():
            owner: Any = operator.attrgetter(owner_name)(module) if owner_name else module
            # If the owner has none of them, `Patch` raises `AttributeError`, which becomes a note in the summary.
            for name in [name for name in functions if hasattr(owner, name)] or functions:
                position = (name in _AFTER_METHOD) + (not isinstance(owner, ModuleType))
                yield Patch(owner, name, self._checking_argument(library, position))
        for owner_name, name in _TRANSPORTS.get(module.__name__, {}).items():
            yield Patch(getattr(module, owner_name), name, self._checking_request(library))

    def _checking_argument(self, library: str, position: int) -> Callable[..., Any]:
        """``position`` is that of the URL among the arguments, ``self`` included."""

        def check(args: Sequence[Any], named: Mapping[str, Any]) -> None:
            url = str(args[position] if len(args) > position else named.get("url", ""))
            base_url = getattr(args[0], "base_url", None) if args else None
            if base_url and "://" not in url:
                url = f"{base_url}/{url}"
            check_url(self._guard, url, library=library)

        return calling_first(check)

    def _checking_request(self, library: str) -> Callable[..., Any]:
        return calling_first(
            lambda args, named: check_url(self._guard, find_argument(args, named, 1, "request").url, library=library)
        )

    # BAML's clients are private, but it can build a request without sending it.

    def _patch_baml(self, module: ModuleType) -> Iterable[Undoable]:
        runtime = module.BamlRuntime
        for name in ("call_function", "call_function_sync", "stream_function", "stream_function_sync"):
            yield Patch(runtime, name, functools.partial(self._check_built, runtime.build_request_sync))

    def _check_built(self, build: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
        try:
            takes = inspect.signature(original)
            *shared, _ = inspect.signature(build).parameters  # the last says whether the answer is to be a stream
        except ValueError as error:
            raise ImportError(str(error)) from error
        if not takes.parameters.keys() >= set(shared):
            raise ImportError(f"{original.__name__} does not take what build_request_sync does")

        def check(args: Sequence[Any], named: Mapping[str, Any]) -> None:
            if self._guard.patches.in_force and policy.guards_connections():
                url = _build_request(build, shared, takes.bind(*args, **named).arguments).url
                check_url(self._guard, url, library="baml_py")
                if original.__name__ == "stream_function_sync":
                    _check_is_elsewhere(url)

        return calling_first(check)(original)

    # The configuration of a gateway within the process, and each call, decide which hosts it asks. Nothing shows them.

    def _patch_tensorzero(self, module: ModuleType) -> Iterable[Undoable]:
        for owner in (module.TensorZeroGateway, module.AsyncTensorZeroGateway):
            yield Patch(owner, "build_embedded", calling_first(self._note_gateway))

    def _note_gateway(self, *_: object) -> None:
        if self._guard.patches.in_force:
            policy.note_unseen("an embedded gateway of tensorzero")


def _build_request(build: Callable[..., Any], shared: Sequence[str], given: Mapping[str, Any]) -> Any:
    """Have BAML build the first request of a call with the arguments ``given``, without sending it to a provider.

    BAML fetches images for providers that take no URL of an image. The request is built without a stream, which BAML
    can do for each provider. It goes to the same host.
    """
    try:
        return build(*(given.get(name) for name in shared), False)
    except Exception as error:
        error.add_note("The guard of this test run had BAML build the request, to see where it would go.")
        raise


def _check_is_elsewhere(url: str) -> None:
    """Raise ``ConfigError`` if a synchronous stream of BAML asks a server in this process. Both would wait for ever."""
    host, port, _ = split_url(url)
    if (host, port) in policy.own_servers():
        raise ConfigError(
            "a synchronous stream of BAML keeps all other threads of its process waiting, so the fixture aquila_server "
            "cannot answer it: use BAML's async client in this test, or start `aquila serve` beside it"
        )
