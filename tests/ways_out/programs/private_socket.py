"""The class in C below Python's sockets, ``_socket.socket``."""

import _socket


def go(host: str, port: int) -> None:
    end = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    end.connect((host, port))
    end.close()
