"""Drivers of the loop, and the streams that callers hold. Begin with ``drivers``.

The synchronous and the asynchronous side are written out: a driver decides nothing, and what is left differs. The one
waits on threads and sockets and ends a read by closing its socket; the other cancels tasks and shields the closing.
"""
