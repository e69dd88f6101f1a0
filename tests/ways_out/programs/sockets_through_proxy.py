"""What a program writes to a proxy by itself, without TLS."""

import socket

LISTED = False


def go(host: str, port: int) -> None:
    with socket.create_connection((host, port), timeout=10) as end:
        end.sendall(b"POST http://api.openai.com/v1/chat/completions HTTP/1.1\r\n\r\n")
