"""Python's sockets."""

import socket


def go(host: str, port: int) -> None:
    with socket.create_connection((host, port), timeout=10) as end:
        end.sendall(b"POST / HTTP/1.1\r\n\r\n")
