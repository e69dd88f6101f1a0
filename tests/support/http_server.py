"""The server below those that tests script."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class LoopbackServer(ThreadingHTTPServer):
    """Answers each connection in a thread. A client may leave whenever it likes, also between two requests.

    The library would write that to standard error, which a run of pytest within the test may have closed by then.
    """

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
