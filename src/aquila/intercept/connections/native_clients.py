"""The guard for libraries that connect without Python's sockets: curl, gRPC, uvloop, c-ares, gevent, PySocks.

Each is checked where it is told to connect. No cassette can answer them, except uvloop. If a cassette is in use, the
refusal names the library. To add a library, add a function, a row in ``NativeClients.PATCHES``, and its module in
``activation``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar
from urllib.parse import urlsplit

from aquila.intercept.connections.socket_guard import SocketGuard, calling_first, find_argument
from aquila.intercept.patching import Patch, Undoable
from aquila.recording.network.host_names import DEFAULT_PORTS


class NativeClients:
    """The patches of these libraries, for one guard."""

    def __init__(self, guard: SocketGuard) -> None:
        self._guard = guard

    def patch_library(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch the imported module of one of these libraries."""
        return self.PATCHES[module.__name__](self, module)

    def _patch_proactor(self, module: ModuleType) -> Iterable[Undoable]:
        # The event loops of Windows connect by the descriptor of a socket, without its methods.
        yield Patch(module.IocpProactor, "connect", self._connect_in_proactor)
        yield Patch(module.IocpProactor, "sendto", self._guard.checking(_address_at(4, "addr")))

    def _connect_in_proactor(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def connect_socket(connection: Any, address: Any, *, proactor: Any) -> Any:
            return original(proactor, connection, address)

        checked = self._guard.make_replacement("connect")(connect_socket)

        @functools.wraps(original)
        def connect(proactor: Any, conn: Any, address: Any) -> Any:
            return checked(conn, address, proactor=proactor)

        return connect

    def _patch_resolvers(self, module: ModuleType) -> Iterable[Undoable]:
        return self._guard.patch_resolvers(module)

    def _patch_gevent_tls(self, module: ModuleType) -> Iterable[Undoable]:
        yield Patch(module.SSLContext, "wrap_socket", self._guard.make_replacement("wrap_socket"))

    def _patch_uvloop(self, module: ModuleType) -> Iterable[Undoable]:
        # It resolves names and connects in C. Its handshakes go through `ssl`.
        checking = self._guard.checking_in_loop
        yield Patch(module.Loop, "create_connection", self._connect_in_uvloop)
        yield Patch(module.Loop, "getaddrinfo", self._guard.resolving_in_loop)
        yield Patch(module.Loop, "sock_connect", checking(_address_at(2, "address")))
        yield Patch(module.Loop, "create_datagram_endpoint", checking(_address_at(3, "remote_addr")))

    def _connect_in_uvloop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        checked = self._guard.checking_in_loop(_host_and_port_of_connection)(original)

        @functools.wraps(original)
        async def create_connection(
            loop: Any, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
        ) -> Any:
            there = self._guard.redirects.redirect(host, port) if self._guard.patches.in_force else None
            if there is None:
                return await checked(loop, protocol_factory, host, port, **options)
            if options.get("ssl"):
                options.setdefault("server_hostname", host)
            return await original(loop, protocol_factory, *there, **options)

        return create_connection

    def _patch_pycares(self, module: ModuleType) -> Iterable[Undoable]:
        for name in ("getaddrinfo", "gethostbyname", "query", "search"):
            if hasattr(module.Channel, name):  # each version has some of these
                yield Patch(module.Channel, name, self._guard.checking(_name_to_resolve))

    def _patch_socks(self, module: ModuleType) -> Iterable[Undoable]:
        # It sends the name to a proxy and connects to the proxy. `connect_ex` and `create_connection` call this method.
        yield Patch(module.socksocket, "connect", self._guard.checking(_address_at(1, "dest_pair"), connects=True))

    def _patch_pycurl(self, module: ModuleType) -> Iterable[Undoable]:
        # The methods of classes in C cannot be replaced, so subclasses replace the classes in the module.
        yield Patch(module, "Curl", self._make_pycurl)
        yield Patch(module, "CurlMulti", self._make_pycurl_multi)

    def _make_pycurl(self, original: Any) -> type:
        remember, check = _remembering_url(_CURL_URL), self._check_remembered_url(0, "pycurl")
        setting = {name: remember(getattr(original, name)) for name in ("setopt", "setopt_string")}
        asking = {name: check(getattr(original, name)) for name in ("perform", "perform_rb", "perform_rs")}
        methods = {**setting, **asking, "duphandle": _copy_url(original.duphandle)}
        return type("Curl", (original,), {"__module__": original.__module__, **methods})

    def _make_pycurl_multi(self, original: Any) -> type:
        add_handle = self._check_remembered_url(1, "pycurl")(original.add_handle)
        return type("CurlMulti", (original,), {"__module__": original.__module__, "add_handle": add_handle})

    def _patch_curl_cffi(self, module: ModuleType) -> Iterable[Undoable]:
        # A handle does not show its URL, so the URL is remembered on the handle.
        yield Patch(module.Curl, "setopt", _remembering_url(module.CurlOpt.URL))
        yield Patch(module.Curl, "duphandle", _copy_url)
        yield Patch(module.Curl, "perform", self._check_remembered_url(0, "curl_cffi"))

    def _patch_curl_cffi_loop(self, module: ModuleType) -> Iterable[Undoable]:
        yield Patch(module.AsyncCurl, "add_handle", self._check_remembered_url(1, "curl_cffi", within_loop=True))

    def _check_remembered_url(self, position: int, library: str, *, within_loop: bool = False) -> Callable[..., Any]:
        def check(args: Sequence[Any], named: Mapping[str, Any]) -> None:
            url = getattr(find_argument(args, named, position, "curl"), "aquila_url", None)
            check_url(self._guard, url, library=library, within_loop=within_loop)

        return calling_first(check)

    def _patch_grpc(self, module: ModuleType) -> Iterable[Undoable]:
        guard_channels = functools.partial(_guard_channels, self._guard, module.__name__ == "grpc.aio")
        yield Patch(module, "insecure_channel", guard_channels)
        yield Patch(module, "secure_channel", guard_channels)

    PATCHES: ClassVar[Mapping[str, Callable[[NativeClients, ModuleType], Iterable[Undoable]]]] = {
        "asyncio.windows_events": _patch_proactor,
        "curl_cffi.aio": _patch_curl_cffi_loop,
        "curl_cffi.curl": _patch_curl_cffi,
        "gevent._socketcommon": _patch_resolvers,
        "gevent.socket": _patch_resolvers,
        "gevent.ssl": _patch_gevent_tls,
        "grpc": _patch_grpc,
        "grpc.aio": _patch_grpc,
        "pycares": _patch_pycares,
        "pycurl": _patch_pycurl,
        "socks": _patch_socks,
        "uvloop": _patch_uvloop,
    }
    """For each module of a library the method that patches it."""


# Functions that find the address among the arguments of a library's function. Positions count `self`.


def _host_and_port_of_connection(args: Sequence[Any], named: Mapping[str, Any]) -> tuple[object, object]:
    return find_argument(args, named, 2, "host"), find_argument(args, named, 3, "port")


def _name_to_resolve(args: Sequence[Any], named: Mapping[str, Any]) -> tuple[object, object]:
    return (args[1] if len(args) > 1 else named.get("host", named.get("name"))), None


def _address_at(position: int, name: str) -> Callable[[Sequence[Any], Mapping[str, Any]], tuple[object, object]]:
    def find_address(args: Sequence[Any], named: Mapping[str, Any]) -> tuple[object, object]:
        address = find_argument(args, named, position, name)
        return (address[0], address[1]) if isinstance(address, (tuple, list)) and len(address) > 1 else (None, None)

    return find_address


# curl


_CURL_URL = 10002
"""``CURLOPT_URL``. libcurl promises to keep this number."""


def _remembering_url(url: int) -> Callable[..., Any]:
    def remember(args: Sequence[Any], named: Mapping[str, Any]) -> None:
        if find_argument(args, named, 1, "option") == url:
            args[0].aquila_url = find_argument(args, named, 2, "value")

    return calling_first(remember)


def _copy_url(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def duphandle(curl: Any) -> Any:
        copy = original(curl)
        copy.aquila_url = getattr(curl, "aquila_url", None)
        return copy

    return duphandle


def check_url(guard: SocketGuard, url: object, *, library: str, within_loop: bool = False) -> None:
    """Have a guard refuse a request that ``library`` is about to send to ``url``, which nothing asked for."""
    host, port, path = split_url(url)
    guard.check(host, port, path=path, within_loop=within_loop, library=library)


def split_url(url: object) -> tuple[str | None, int | None, str]:
    """Return the host, the port and the path of ``url``, which is text or bytes. A missing host or port is None."""
    text = url.decode("utf-8", "replace") if isinstance(url, (bytes, bytearray)) else str(url or "")
    has_scheme = re.match(r"[\w+.-]+://", text)  # curl, too, assumes HTTP for a URL without a scheme
    try:
        parts = urlsplit(text if has_scheme else f"http://{text}")
    except ValueError:  # the URL is wrong, and the client has its own error for that
        return None, None, ""
    try:
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        port = None
    return parts.hostname, port, parts.path


# gRPC. A channel connects only when it is used, and many programs make channels that they never use. So calls are
# checked.


def _guard_channels(guard: SocketGuard, within_loop: bool, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def make_channel(*args: Any, **kwargs: Any) -> Any:
        channel = original(*args, **kwargs)
        target = str(find_argument(args, kwargs, 0, "target"))

        def check() -> None:
            for host, port in _addresses_of_target(target):
                guard.check(host, port, within_loop=within_loop, library="grpc")

        # Only the class of this object is replaced, by a subclass, because a program may check for gRPC's class.
        channel.aquila_check = check
        kind: Any = type(channel)
        channel.__class__ = _asking_channel(kind)
        return channel

    return make_channel


def _addresses_of_target(target: str) -> Iterator[tuple[str, int | None]]:
    """Yield the addresses of a gRPC target: ``host:port``, ``dns:///host:port``, ``ipv4:1.2.3.4:80,1.2.3.5:80``."""
    scheme, colon, rest = target.partition(":")
    if colon and scheme in ("unix", "unix-abstract", "vsock"):
        return
    if colon and (rest.startswith("/") or scheme in ("dns", "ipv4", "ipv6")):
        target = rest.rpartition("/")[2]
    for each in target.split(","):
        parts = re.fullmatch(r"(\[.*\]|[^:]*)(?::(\d+))?", each)
        yield (parts[1], int(parts[2] or 443)) if parts is not None else (each, None)


@functools.cache  # one class for each of the few kinds of channels; both caches live as long as the process
def _asking_channel(kind: Any) -> type:
    """Return a subclass of a class of channels, which calls ``aquila_check`` before each call and connection."""

    def calling(name: str) -> Callable[..., Any]:
        @functools.wraps(getattr(kind, name))
        def make_call(channel: Any, *args: Any, **kwargs: Any) -> Any:
            call = getattr(kind, name)(channel, *args, **kwargs)
            # Like the channel, the callable stays an instance of gRPC's class.
            call.aquila_check = channel.aquila_check
            made: Any = type(call)
            call.__class__ = _checked(made, ("__call__", "with_call", "future"))
            return call

        return make_call

    calls = {name: calling(name) for name in ("unary_unary", "unary_stream", "stream_unary", "stream_stream")}
    connecting = _checked(kind, ("subscribe", "get_state"), when="try_to_connect")
    return type(kind.__name__, (connecting,), {"__module__": kind.__module__, **calls})


# One class for each class of the library, as long as the process lives: a program may compare the classes of two
# objects, and making a class takes longer than a call.
@functools.cache
def _checked(kind: Any, methods: tuple[str, ...], when: str = "") -> type:
    """Return a subclass whose ``methods`` call ``aquila_check`` first; with ``when`` only if that argument is true.

    ``when`` is the name of the last argument.
    """

    def checking(name: str) -> Callable[..., Any]:
        original = getattr(kind, name)

        @functools.wraps(original)
        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not when or kwargs.get(when, bool(args) and args[-1] is True):
                self.aquila_check()
            return original(self, *args, **kwargs)

        return checked

    return type(
        kind.__name__,
        (kind,),
        {"__module__": kind.__module__, **{name: checking(name) for name in methods if hasattr(kind, name)}},
    )
