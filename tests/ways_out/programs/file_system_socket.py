"""What a program writes without TLS to a socket of the file system, behind which something may forward it."""

import socket

LISTED = False


def go(host: str, port: int) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(10)
        end.connect(f"/tmp/way-out-{port}")
        end.sendall(b"POST http://api.openai.com/v1/chat/completions HTTP/1.1\r\n\r\n")
