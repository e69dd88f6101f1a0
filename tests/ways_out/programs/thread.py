"""A thread."""

import concurrent.futures
import socket


def go(host: str, port: int) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(socket.create_connection, (host, port), 10).result().close()
