"""Calls as steps without I/O: a loop yields what to do next, a driver does it. Begin with ``tool_loop``.

``steps`` are the records of what a driver has to do. ``tool_loop`` has the code that all loops share (sending, with
retries), and the loop of requests and tools. ``tool_execution`` runs tools. ``stored_answer_loop`` and
``single_request`` are the loops of calls without tools.

``socket_answer`` turns requests and answers into messages of a WebSocket, and back.

Imported by ``calls`` and ``streams``.
"""
