"""The base class of the HTTP servers that tests script."""

from __future__ import annotations

import os
import selectors
import socketserver
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import Any


class LoopbackServer(ThreadingHTTPServer):
    """Serves each connection in a thread. A client may close its connection at any time.

    The standard library would report that on standard error, which an inner pytest run may have closed by then. It
    would also look many times a second whether it shall end, or end late. This server is woken.
    """

    daemon_threads = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._pipe: tuple[int, ...] = os.pipe()
        self._end, self._to_end = self._pipe
        self._ended = threading.Event()
        super().__init__(*arguments, **options)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # asks for no name

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self, selectors.EVENT_READ)
                selector.register(self._end, selectors.EVENT_READ)
                while self._end not in (ready := [key.fileobj for key, _ in selector.select()]):
                    if ready:
                        self._handle_request_noblock()  # type: ignore[attr-defined]
        finally:
            self._ended.set()

    def shutdown(self) -> None:
        os.write(self._to_end, b" ")
        self._ended.wait()

    def server_close(self) -> None:
        super().server_close()
        pipe, self._pipe = self._pipe, ()  # closed once, however often this is called
        for descriptor in pipe:
            os.close(descriptor)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
