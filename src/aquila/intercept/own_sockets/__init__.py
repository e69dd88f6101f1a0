"""Clients that speak HTTP over sockets of their own, without any of the libraries that are caught.

While a scope can answer, such a client gets an address of this machine when it resolves the name of a provider, and its
connection goes to a listener. Begin with ``redirection``, which ``socket_guard`` asks. ``listeners`` answers, as any
client is answered; ``handshakes`` lets the client believe that it speaks TLS with the provider, and
``aquila.transports.callers.socket_answers`` is the HTTP.

Imported by ``socket_guard``.
"""
