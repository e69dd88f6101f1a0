"""The C library, by ctypes or from an extension."""

import ctypes
import os
import socket


def go(host: str, port: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    end = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    address = socket.AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
    try:
        if libc.connect(end, address, len(address)):
            raise OSError(ctypes.get_errno(), "connect")
    finally:
        os.close(end)
