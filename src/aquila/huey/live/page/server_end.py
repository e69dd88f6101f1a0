"""Finds out whether the server of this process has been told to stop.

No message of ASGI says that to an application that streams. uvicorn tells only when all connections have closed, and
it waits for a stream that does not end by itself.
"""

from __future__ import annotations

import signal

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def is_server_ending() -> bool:
    """Return whether uvicorn runs in this process, has got a signal, and waits for its connections.

    False with other servers: those that are known (hypercorn, daphne, granian) end streams themselves.
    """
    # uvicorn 0.54 handles its signals by a method of its server, and notes in an attribute of it that it must stop.
    # Asking is cheap. If the program has a signal handler of its own, the server is not found, and the stream goes on.
    for number in _STOPPING:
        server = getattr(signal.getsignal(number), "__self__", None)
        if getattr(server, "should_exit", False) is True:
            return True
    return False
