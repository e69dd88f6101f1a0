"""gevent's sockets."""

import gevent.socket


def go(host: str, port: int) -> None:
    gevent.socket.create_connection((host, port), timeout=10).close()
