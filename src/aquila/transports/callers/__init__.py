"""Requests of clients that Aquila has not built, and how their answers are returned in the form of each client.

Begin with ``intercepted_requests``, which answers for the clients of other libraries: those on ``http.client`` by
``http_client_answers``, those on sockets of their own by ``socket_answers``. ``proxy`` answers for ``aquila serve``.
``disconnected_caller`` notices a caller that leaves, ``failures`` turns errors into answers for clients, and
``system_errors`` turns the text of a recorded error into an ``OSError`` of this system.

Imported by ``routes``, ``silence``, ``watched_answers`` and everything below ``transports``.
"""
