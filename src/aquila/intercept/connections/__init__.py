"""Refuses connections that no test asked for, below all HTTP libraries.

Begin with ``socket_guard``, which patches sockets and TLS handshakes. ``native_clients`` has the libraries that connect
by themselves, and ``compiled_clients`` those in Rust and Go. ``kept_originals`` patches plugins that restore functions
of sockets.

Imported by ``activation`` and ``own_sockets``.
"""
