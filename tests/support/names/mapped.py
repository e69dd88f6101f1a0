"""Maps host names to loopback servers in this process. Child processes load it too, so it needs no other package.

A mapped name resolves to an address of its own, from a block that is reserved for documentation (RFC 5737). A
connection to that address reaches the server, whatever its port. Other names do not resolve, except those of this
machine. So clients, and Aquila's guard around them, see what they would see on the real network.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

VARIABLE = "REAL_HOSTS"
_BLOCK = "198.51.100."
_LOCAL = ("localhost", socket.gethostname())


def from_environment() -> dict[str, int]:
    """Return the host names that the parent process has mapped, each with the port of its server."""
    mapping: dict[str, int] = json.loads(os.environ[VARIABLE])
    return mapping


def map_names(ports: Mapping[str, int]) -> Callable[[], None]:
    """Map each host name to the loopback server at its port, below Aquila's guard. Returns the undo."""
    addresses = {name: f"{_BLOCK}{number}" for number, name in enumerate(sorted(ports), start=1)}
    targets = {host: ("127.0.0.1", port) for name, port in ports.items() for host in (name, addresses[name])}
    getaddrinfo, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex

    def resolve(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        name = host.decode("ascii") if isinstance(host, bytes) else host
        name = name.lower().rstrip(".") if isinstance(name, str) else name
        if name in addresses and family in (0, socket.AF_INET):
            return getaddrinfo(addresses[name], port, socket.AF_INET, type, proto, flags)
        if isinstance(name, str) and name not in _LOCAL and not _is_address(name):
            raise socket.gaierror(socket.EAI_NONAME, f"{name}: no such name in this test")
        return getaddrinfo(host, port, family, type, proto, flags)

    def target(address: Any) -> Any:
        return targets.get(address[0], address) if isinstance(address, tuple) else address

    def redirected(self: socket.socket, address: Any) -> None:
        connect(self, target(address))

    def redirected_ex(self: socket.socket, address: Any) -> int:
        return connect_ex(self, target(address))

    # The guard must see the host names, so it is withdrawn first and put in force again above these functions.
    with _guard_lifted():
        getaddrinfo, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex
        socket.getaddrinfo = resolve
        socket.socket.connect = redirected  # type: ignore[method-assign]
        socket.socket.connect_ex = redirected_ex  # type: ignore[method-assign]

    def undo() -> None:
        with _guard_lifted():
            socket.getaddrinfo = getaddrinfo
            socket.socket.connect = connect  # type: ignore[method-assign]
            socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]

    return undo


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, name.partition("%")[0])
            return True
    return name == ""


@contextlib.contextmanager
def _guard_lifted() -> Iterator[None]:
    activation: Any = sys.modules.get("aquila.intercept.activation")
    patches = activation.interception().socket_guard.patches if activation is not None else None
    holders = tuple(patches._holders) if patches is not None else ()
    for holder in holders:
        patches.withdraw(holder)
    try:
        yield
    finally:
        for holder in holders:
            patches.put_in_force(holder)
