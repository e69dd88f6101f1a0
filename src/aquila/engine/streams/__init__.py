"""Drivers of the loop, and the streams that callers hold. Begin with ``drivers``.

The synchronous and the asynchronous driver are both written out. Neither decides anything, and their I/O differs: the
synchronous one waits on threads and sockets and ends a read by shutting down its socket; the asynchronous one cancels
tasks and shields the closing of a connection from cancellation.

``sync_stream`` has the stream for synchronous callers, and ``async_stream`` the one for asynchronous callers.
``cut_answers`` continues an answer that was cut off, and ``socket_exchange`` sends requests over the WebSocket of a
call.

Imported by ``api``, ``research`` and ``huey``.
"""
