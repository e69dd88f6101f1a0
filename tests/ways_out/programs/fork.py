"""A forked process."""

import os
import socket


def go(host: str, port: int) -> str:
    told, tell = os.pipe()
    if not os.fork():
        try:
            socket.create_connection((host, port), timeout=10).close()
        except BaseException as error:  # noqa: BLE001 - an outcome is no Exception
            os.write(tell, type(error).__name__.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as lines:
        return lines.read()
