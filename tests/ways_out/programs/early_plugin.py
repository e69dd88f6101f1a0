"""What a plugin given with ``-p``, or another installed one, sends when it is imported."""

import socket

IS_PLUGIN = True


def go(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=10).close()
