"""Clients that speak HTTP over sockets of their own, without any of the libraries that are caught.

Where such a client resolves the name of a provider while a scope can answer, it is told an address of this machine.
``listeners`` listens there and answers its requests, as those of any client; ``handshakes`` lets it believe that it
speaks TLS with the provider. ``socket_guard`` begins here, and ``aquila.transports.socket_answers`` is the HTTP.
"""
