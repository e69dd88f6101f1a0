"""The servers that tests share end their work when a client leaves."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.support.accepting_server import read_request


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_client_that_leaves_within_a_request_ends_the_reading(sent: bytes) -> None:
    client, server = socket.socketpair()
    with client, server:
        client.sendall(sent)
        client.close()
        read: list[bytes] = []
        reading = threading.Thread(target=lambda: read.append(read_request(server)), daemon=True)
        reading.start()
        reading.join(60)
    assert read == [b""]
