"""Calls as steps without I/O: a loop yields what to do next, a driver does it. Begin with ``request_loop``.

``steps`` are what a driver is asked to do. ``request_loop`` is what all loops share (sending, with retries),
``tool_loop`` a conversation with a model and its tools; ``tool_execution`` runs those. ``stored_answer_loop`` and
``single_request`` are the loops of calls without tools.

``socket_answer`` is the same over a WebSocket.
"""
