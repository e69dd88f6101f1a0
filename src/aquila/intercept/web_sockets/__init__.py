"""Conversations over WebSockets, recorded and replayed where Python's client libraries connect.

Begin with ``answering``: it says what becomes of a handshake. A conversation that is recorded goes over the library's
own connection, and its messages are noted as they pass. In a replay the library gets a real connection as well, one end
of a pair of sockets; ``peer`` speaks for the provider at the other one, and ``replayed`` says what it may say. So a
program meets its own library's objects, time limits and exceptions in both.

``clients`` lists the libraries. Each has a module in ``libraries`` that knows where it connects, sends and receives.
"""
