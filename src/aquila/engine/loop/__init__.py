"""Calls as steps without I/O: a loop yields what to do next, a driver does it. Begin with ``tool_loop``.

``steps`` are what a driver is asked to do. ``tool_loop`` has what all loops share (sending, with retries), and a
conversation with a model and its tools; ``tool_execution`` runs those. ``stored_answer_loop`` and ``single_request``
are the loops of calls without tools.

``socket_answer`` is the same over a WebSocket.

Imported by ``calls`` and ``streams``.
"""
