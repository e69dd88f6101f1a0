"""Requests that are not sent through httpx2, and how their answers are returned.

Begin with ``intercepted_requests``, which answers for the clients of other libraries: those on ``http.client`` by
``http_client_answers``, those on sockets of their own by ``socket_answers``. ``proxy`` answers for ``aquila serve``.
``disconnected_caller`` notices a caller that leaves, ``failures`` says what a client gets for an error, and
``system_errors`` makes an error of this system of one that a recording names.

Imported by ``routes``, ``silence``, ``watched_answers`` and everything below ``transports``.
"""
