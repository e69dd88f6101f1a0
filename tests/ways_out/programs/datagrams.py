"""A datagram, as of HTTP/3."""

import socket


def go(host: str, port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as end:
        end.sendto(b"hello", (host, port))
