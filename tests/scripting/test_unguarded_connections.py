"""Processes connect to a script although a plugin, such as pytest-socket, refuses to make sockets."""

from __future__ import annotations

import contextlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from aquila.scripting import unguarded_connections
from aquila.scripting.unguarded_connections import connect, listen


class RefusedSocket(socket.socket):
    def __new__(cls, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a test tried to use socket.socket")


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket", RefusedSocket)


@pytest.mark.parametrize("lacks", ["_SHORT_ROOT", "_DESCRIPTORS"], ids=["a Linux without /tmp", "macOS"])
@pytest.mark.parametrize("folder", ["short", "longer than a socket's path may be " * 6], ids=["short", "long"])
def test_only_processes_that_know_the_key_can_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, lacks: str
) -> None:
    if lacks == "_SHORT_ROOT" and not os.path.isdir("/proc/self/fd"):
        pytest.skip("no Linux")
    monkeypatch.setattr(unguarded_connections, lacks, str(tmp_path / "nowhere"))
    address = str(tmp_path / folder / "own.sock")
    (tmp_path / folder).mkdir()
    listener = listen(address, b"key")
    with ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(listener.accept)
        with connect(address, b"key") as asking, accepting.result(60) as asked:
            asking.send_bytes(b"question")
            assert asked.recv_bytes() == b"question"
        accepting = pool.submit(listener.accept)
        with pytest.raises(AuthenticationError):
            connect(address, b"another")
        assert isinstance(accepting.exception(60), AuthenticationError | EOFError | OSError)
    listener.close()
    assert not Path(address).exists()
    with pytest.raises(FileNotFoundError):
        connect(address, b"key")


def test_a_listener_that_does_not_know_the_key_is_refused(tmp_path: Path) -> None:
    """Another program may listen at the address. It is asked nothing before it has proved that it knows the key."""
    listener = listen(str(tmp_path / "own.sock"), b"another")

    def welcome_without_a_check() -> None:
        descriptor, _ = listener._socket._accept()
        with Connection(descriptor) as made:
            made.send_bytes(b"#CHALLENGE#" + b"x" * 20)
            made.recv_bytes()
            made.send_bytes(b"#WELCOME#")
            made.recv_bytes()  # the challenge of the other side
            made.send_bytes(b"x" * 16)
            with contextlib.suppress(EOFError, OSError):
                made.recv_bytes()

    with ThreadPoolExecutor(1) as pool:
        welcoming = pool.submit(welcome_without_a_check)
        with pytest.raises(AuthenticationError):
            connect(str(tmp_path / "own.sock"), b"key")
        welcoming.result(60)
    listener.close()
