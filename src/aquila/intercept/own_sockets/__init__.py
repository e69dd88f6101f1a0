"""Clients that speak HTTP over sockets of their own, without any of the libraries that are caught.

Where such a client resolves the name of a provider while a scope can answer, it is told an address of this machine, and
where it connects, it is led to a listener. Begin with ``leading``, which ``socket_guard`` asks. ``listeners`` answers,
as any client is answered; ``handshakes`` lets the client believe that it speaks TLS with the provider, and
``aquila.transports.socket_answers`` is the HTTP.
"""
