"""The base class of the HTTP servers that tests script."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class LoopbackServer(ThreadingHTTPServer):
    """Serves each connection in a thread. A client may close its connection at any time.

    The standard library would report that on standard error, which an inner pytest run may have closed by then.
    """

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
