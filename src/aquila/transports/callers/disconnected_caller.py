"""Notices a caller that leaves before the answer has come, and ends the wait for the upstream.

Otherwise code that forwards an answer over a connection would notice that only when it writes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from aquila.transports.upstreams import Upstream

LEFT = "aquila_left"
"""The extension of a request whose caller may leave: a ``Departure``."""

_SOCKETS = Path("/proc/self/net/tcp")
_INODE = 9
"""The column with the inode of a connection's end: 0 once no process holds that end any more."""


class CallerLeft(BaseException):
    """The caller has left, and does not need the answer any more.

    It is a ``BaseException``, so that no code in between takes it for a failure of the network and retries.
    """


class Departure:
    """Whether the caller of a request has left. One thread calls ``tell``, another waits for that."""

    def __init__(self) -> None:
        self._left = threading.Event()
        # Guards the connection to the upstream.
        # fork: of one request, whose threads are the parent's
        self._lock = threading.Lock()
        self._upstream: socket.socket | None = None

    @property
    def is_known(self) -> bool:
        """Whether the caller has left."""
        return self._left.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until the caller has left, at most so many seconds. Return whether it has left."""
        return self._left.wait(seconds)

    def tell(self) -> None:
        """Note that the caller has left, and end the connection to the upstream."""
        with self._lock:
            self._left.set()
            self._end_upstream()

    def connected(self, upstream: socket.socket) -> None:
        """Note the connection over which the answer will come. End it if the caller has left already."""
        with self._lock:
            self._upstream = upstream
            if self.is_known:
                self._end_upstream()

    def _end_upstream(self) -> None:
        if self._upstream is not None:
            with contextlib.suppress(OSError):  # it may have ended
                # Shut down rather than closed, which would not wake a thread that reads. ``SSLSocket.shutdown`` would
                # wait for the peer, so the method of the plain socket is called.
                socket.socket.shutdown(self._upstream, socket.SHUT_RDWR)


class LeavableUpstream(Upstream):
    """The upstream ``live`` for callers that may leave. Code that waits for it gets ``CallerLeft`` then."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream.name, needs_key=upstream.needs_key)
        self._inner = upstream

    def send_request(self, request: httpx2.Request) -> httpx2.Response:
        departure: Departure = request.extensions[LEFT]

        def follow_connection(event: str, told: dict[str, Any]) -> None:
            # This is httpcore2's extension "trace". The first event holds the connection to the provider or a proxy, a
            # later one the TLS connection in it.
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                departure.connected(told["return_value"].get_extra_info("socket"))

        request.extensions["trace"] = follow_connection
        try:
            with _leaving(departure):
                response = self._inner.send_request(request)
        finally:
            del request.extensions["trace"]
        response.stream = _LeavableStream(response, departure)
        return response


@contextlib.contextmanager
def _leaving(departure: Departure) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # After the connection was ended, the client library may raise any of its errors.
        if departure.is_known:
            raise CallerLeft from error
        raise


class _LeavableStream(httpx2.SyncByteStream):
    def __init__(self, response: httpx2.Response, departure: Departure) -> None:
        stream: Any = response.stream
        self._stream = stream
        self._departure = departure
        self._tells_its_end = bool({"content-length", "transfer-encoding"} & set(response.headers))

    def __iter__(self) -> Iterator[bytes]:
        with _leaving(self._departure):
            yield from self._stream
        if self._departure.is_known and not self._tells_its_end:
            raise CallerLeft  # without a length, the shut down connection looks like the end of the body

    def close(self) -> None:
        self._stream.close()


def is_held_by_client(connection: socket.socket) -> bool:
    """Whether the client, which has closed its side of ``connection``, may still read from it.

    A client may shut down sending after its request, and still wait for the answer. The server cannot tell that from a
    client that has closed its socket. The kernel can, because it has both ends. Returns False on systems other than
    Linux, where the kernel cannot be asked.
    """
    try:
        client, here = connection.getpeername(), connection.getsockname()
        ends = [_address_in_proc(client), _address_in_proc(here)]
        for line in _SOCKETS.read_text("ascii").splitlines()[1:]:
            columns = line.split()
            if columns[1:3] == ends:
                return columns[_INODE] != "0"
    except (OSError, ValueError, IndexError):
        return False
    return False


def _address_in_proc(address: tuple[str, int]) -> str:
    """Return an address as ``/proc/self/net/tcp`` writes it: the IP address as a number in the machine's byte order."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"
