"""The guard of a test run: refuses connections that nothing asked for, at the sockets of Python.

Names are checked when they are resolved, and when a TLS handshake names its server, which finds the server behind a
proxy too. Addresses are checked when a socket connects, and for each datagram. Requests of Aquila itself and of live
tests pass. ``native_clients`` and ``compiled_clients`` check libraries that connect without Python's sockets.

If a scope can answer a provider, the connection is not refused but redirected to a listener; see ``own_sockets``.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from aquila.intercept.patching import Patch, PatchSet, Undoable
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import socket

    from aquila.intercept import policy
    from aquila.intercept.connections import compiled_clients, kept_originals, native_clients
    from aquila.intercept.own_sockets import redirection
    from aquila.recording.scope import Scope

    Replacement: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
    FindAddress: TypeAlias = Callable[[Sequence[Any], Mapping[str, Any]], tuple[object, object]]
else:
    lazy_modules(
        globals(),
        "socket",
        "aquila.intercept: policy",
        "aquila.intercept.connections: compiled_clients, kept_originals, native_clients",
        "aquila.intercept.own_sockets: redirection",
    )

_MOST_NAMES = 1000
"""How many resolved addresses are remembered. A test run reaches far fewer hosts."""


class SocketGuard:
    """The guard of connections. In force while ``patches`` are, which ``activation`` makes."""

    _redirects: redirection.Redirection | None = None

    def __init__(self, patches: PatchSet) -> None:
        self.patches = patches
        # The name that was last resolved to each address, so that the names in the setting `ignore_hosts` apply to
        # connections too. Any thread changes it, and each change is atomic. `_remember_name` clears it when it is full.
        self._names: dict[str, str] = {}

    def patch_library(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch a library that connects, or a plugin that keeps functions of ``socket``."""
        if module.__name__ in kept_originals.KEPT:
            return kept_originals.patch_kept(self, module, socket)
        if module.__name__ in compiled_clients.LIBRARIES:
            return compiled_clients.CompiledClients(self).patch_library(module)
        return native_clients.NativeClients(self).patch_library(module)

    def patch_resolvers(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch the functions of a module that resolve names."""
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            yield Patch(module, name, self.make_replacement(name))

    def make_replacement(self, name: str) -> Replacement:
        """Return the function that makes the replacement of a function or method, by the ``name`` of that."""
        connecting = functools.partial(self._check_addresses, connects=True)
        replacements: dict[str, Replacement] = {
            "connect": connecting,
            "connect_ex": connecting,
            "getaddrinfo": self._resolve_names,
            "gethostbyname": functools.partial(self._resolve_name, in_list=False),
            "gethostbyname_ex": functools.partial(self._resolve_name, in_list=True),
            # Datagrams, as of HTTP/3, need no connection. Their address comes last, and may be left out.
            "sendto": self._check_addresses,
            "sendmsg": functools.partial(self._check_addresses, position=4),
            # The two ways to begin a TLS handshake: over a socket, and in memory, as asyncio and anyio do.
            "wrap_socket": functools.partial(self.beginning_handshakes, position=5),
            "wrap_bio": functools.partial(self.beginning_handshakes, position=4),
            # Event loops resolve names in another thread. Only here is the client still known.
            "getaddrinfo of an event loop": self.resolving_in_loop,
        }
        return replacements[name]

    def beginning_handshakes(self, original: Callable[..., Any], *, position: int) -> Callable[..., Any]:
        """Return the replacement of a method that begins a TLS handshake.

        ``position`` is that of its argument ``server_hostname``. The next one is a TLS session.
        """

        @functools.wraps(original)
        def begin(*args: Any, **kwargs: Any) -> Any:
            name = find_argument(args, kwargs, position, "server_hostname")
            redirected = None
            if self.patches.in_force:
                redirected = self.redirects.redirect_handshake(args, kwargs, name, session=position + 1)
            if redirected is None:
                self.check(name, None)
            return original(*(args if redirected is None else redirected), **kwargs)

        return begin

    def check(self, host: object, port: object, **known: Any) -> None:
        """Refuse a connection that nothing asked for. ``known`` are arguments of ``policy.check_connection``."""
        name = decode_host(host)
        if name is not None and self.patches.in_force:
            policy.check_connection(name, decode_port(port), **known)

    def checking(self, find_address: FindAddress, *, connects: bool = False) -> Replacement:
        """Return a function that makes a replacement, which checks an address and then calls the original.

        ``find_address`` finds host and port in the positional and the named arguments. ``connects``: the original is a
        method with which a socket connects.
        """

        def check(args: Sequence[Any], named: Mapping[str, Any]) -> None:
            with _closed_by_outcome(args[0]) if connects else contextlib.nullcontext():
                self.check(*find_address(args, named))

        return calling_first(check)

    def checking_in_loop(self, find_address: FindAddress) -> Replacement:
        """``checking`` for a coroutine of an event loop."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            async def checked(*args: Any, **kwargs: Any) -> Any:
                self.check(*find_address(args, kwargs), within_loop=True)
                return await original(*args, **kwargs)

            return checked

        return make

    def resolving_in_loop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of the method of an event loop that resolves names."""

        @functools.wraps(original)
        async def resolve(*args: Any, **kwargs: Any) -> Any:
            host, port = host_and_port(args, kwargs)
            if self.patches.in_force and not self.redirects.is_answered_here(host, port):
                if (redirected := self.redirects.resolve(args[1:], kwargs)) is not None:
                    return redirected
                self.check(host, port, within_loop=True)
            return await original(*args, **kwargs)

        return resolve

    @property
    def redirects(self) -> redirection.Redirection:
        """Redirects clients with sockets of their own. Made at the first use."""
        if self._redirects is not None:
            return self._redirects
        # Two threads may make one at the same time. Both get the one that was stored first.
        made: redirection.Redirection = vars(self).setdefault("_redirects", redirection.Redirection(self.check))
        return made

    def end_scope(self, scope: Scope) -> None:
        """Answer nothing more for a scope that ends."""
        if self._redirects is not None:
            self._redirects.end_scope(scope)

    def _resolve_names(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
            if not self.patches.in_force:
                return original(*args, **kwargs)
            if self.redirects.is_answered_here(
                find_argument(args, kwargs, 0, "host"), find_argument(args, kwargs, 1, "port")
            ):
                # On many machines localhost is ::1 too, and a client tries that first. Only 127.0.0.1 is redirected.
                rows = original(*args, **kwargs)
                return [row for row in rows if row[0] == socket.AF_INET] or rows
            redirected = self.redirects.resolve(args, kwargs)
            return self._resolve_checked(original, args, kwargs) if redirected is None else redirected

        return getaddrinfo

    def _resolve_name(self, original: Callable[..., Any], *, in_list: bool) -> Callable[..., Any]:
        @functools.wraps(original)
        def gethostbyname(*args: Any, **kwargs: Any) -> Any:
            host = find_argument(args, kwargs, 0, "hostname")
            redirected = self.redirects.resolve_name(host) if self.patches.in_force else None
            if redirected is None:
                return self._resolve_checked(original, args, kwargs, quietly=_looks_for_proxy())
            return (decode_host(host), [], [redirected]) if in_list else redirected

        return gethostbyname

    def _resolve_checked(
        self, original: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, quietly: bool = False
    ) -> Any:
        host = find_argument(args, kwargs, 0, "host") or kwargs.get("hostname")
        self.check(host, find_argument(args, kwargs, 1, "port"), quietly=quietly)
        found = original(*args, **kwargs)
        name = decode_host(host)
        if name is not None:
            self._remember_name(name, found)
        return found

    def _remember_name(self, name: str, found: Any) -> None:
        if len(self._names) > _MOST_NAMES:
            self._names.clear()
        if isinstance(found, str):  # `gethostbyname`
            self._names[found] = name
        elif isinstance(found, tuple):  # `gethostbyname_ex`
            self._names.update(dict.fromkeys(found[2], name))
        else:
            self._names.update((row[4][0], name) for row in found)

    def _check_addresses(
        self, original: Callable[..., Any], *, position: int | None = None, connects: bool = False
    ) -> Callable[..., Any]:
        """``position`` is that of the address among the arguments. None: the address is the last of them."""

        @functools.wraps(original)
        def connect(*args: Any, **kwargs: Any) -> Any:
            address = args[-1 if position is None else position] if len(args) > (position or 1) else None
            # Sockets of the file system have an address that is no tuple.
            if not (isinstance(address, tuple) and len(address) >= 2 and self.patches.in_force):
                return original(*args, **kwargs)
            with _closed_by_outcome(args[0]) if connects else contextlib.nullcontext():
                redirected = self.redirects.redirect(address[0], address[1], args[0]) if connects else None
                if redirected is not None:
                    return original(*args[:-1], redirected, **kwargs)
                self._check_address(*address[:2])
            try:
                return original(*args, **kwargs)
            except ConnectionRefusedError as error:
                policy.explain_refused_connection(error, decode_host(address[0]), address[1])
                raise

        return connect

    def _check_address(self, host: object, port: object) -> None:
        text = decode_host(host)
        if text is not None:
            text = self.redirects.name_behind(text) or text
            policy.check_connection(text, decode_port(port), resolved_from=self._names.get(text))


def calling_first(check: Callable[[Sequence[Any], Mapping[str, Any]], object]) -> Replacement:
    """Return a function that makes a replacement, which calls ``check`` with the arguments, and then the original."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def checked(*args: Any, **named: Any) -> Any:
            check(args, named)
            return original(*args, **named)

        return checked

    return make


def _looks_for_proxy() -> bool:
    """Whether ``urllib.request`` resolves a name to find the system's proxy for it, as for each request on macOS.

    The request itself is checked later. A mock may answer it, so that nothing goes to the host at all.
    """
    frame = sys._getframe(1)  # private; `inspect.stack` would read the source file of every frame
    while frame is not None and frame.f_globals.get("__name__", "").startswith("aquila."):
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and frame.f_globals.get("__name__") == "urllib.request"


@contextlib.contextmanager
def _closed_by_outcome(connecting: Any) -> Iterator[None]:
    """Close a socket if its connection is refused by an outcome of pytest.

    The owner of the socket closes it only after an ``Exception``, and an outcome is a ``BaseException``.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            connecting.close()
        raise


def find_argument(args: Sequence[Any], named: Mapping[str, Any], position: int, name: str) -> Any:
    """Return an argument by its position (``self`` counts) or its name; None if it is not given."""
    return args[position] if len(args) > position else named.get(name)


def host_and_port(args: Sequence[Any], named: Mapping[str, Any]) -> tuple[object, object]:
    """Return the arguments ``host`` and ``port`` of a method."""
    return find_argument(args, named, 1, "host"), find_argument(args, named, 2, "port")


def decode_host(host: object) -> str | None:
    """Return a host name or address as text; None for what is neither text nor bytes."""
    if isinstance(host, (bytes, bytearray)):
        return host.decode("utf-8", "replace")
    return host if isinstance(host, str) else None


def decode_port(port: object) -> int | None:
    """Return a port, which may be a number, digits, or the name of a service; None if it is not given or unknown."""
    if isinstance(port, (str, bytes)):
        if port.isdigit():
            return int(port)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return socket.getservbyname(port if isinstance(port, str) else port.decode())
        return None
    return port if isinstance(port, int) else None
