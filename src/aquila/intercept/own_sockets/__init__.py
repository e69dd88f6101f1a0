"""Answers clients that speak HTTP over sockets of their own, without a library that is intercepted.

While a scope can answer, such a client gets an address of this machine when it resolves the name of a provider, and its
connection goes to a listener. Begin with ``redirection``, which ``connections.socket_guard`` calls. ``listeners``
answers requests from scopes. ``handshakes`` makes the TLS contexts of client and listener, and
``aquila.transports.callers.socket_answers`` speaks HTTP.

Imported by ``connections``.
"""
