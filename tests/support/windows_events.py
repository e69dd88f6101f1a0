"""A stand-in for ``asyncio.windows_events``, which cannot be imported on Linux.

``load`` imports this module under that name. ``IocpProactor`` has the methods that send data to other machines, with
the parameters that they have on Windows. The rest of the event loop is that of Linux.
"""

from __future__ import annotations

import _socket
import asyncio
import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from typing import Any

NAME = "asyncio.windows_events"


class IocpProactor:
    """Connects and sends with the methods of ``_socket.socket``, so patches of ``socket.socket`` do not see it."""

    def connect(self, conn: Any, address: Any) -> asyncio.Future[Any]:
        conn.setblocking(True)
        try:
            _socket.socket.connect(conn, address)
        finally:
            conn.setblocking(False)
        return self._done(conn)

    def sendto(self, conn: Any, buf: Any, flags: int = 0, addr: Any = None) -> asyncio.Future[Any]:
        return self._done(_socket.socket.sendto(conn, buf, flags, addr))

    def _done(self, value: Any) -> asyncio.Future[Any]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(value)
        return done


class ProactorEventLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._proactor = IocpProactor()

    async def sock_connect(self, sock: Any, address: Any) -> None:
        await self._proactor.connect(sock, address)

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:  # type: ignore[override]
        return int(await self._proactor.sendto(sock, data, 0, address))


class _Finder:
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return spec_from_file_location(name, __file__) if name == NAME else None


def load() -> Any:
    """Import this module as ``asyncio.windows_events``, and return it."""
    finder: Any = _Finder()
    sys.meta_path.insert(sys.meta_path.index(PathFinder), finder)  # after the finders that watch imports
    try:
        return importlib.import_module(NAME)
    finally:
        sys.meta_path.remove(finder)
