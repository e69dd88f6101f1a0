"""The table of ``docs/security.md`` says which ways out are refused and which are not seen. Each is really tried."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.snippets import REPOSITORY

FOLDER = Path(__file__).parent / "programs"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py"))
SOURCES = {name: (FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in PROGRAMS}
PLUGINS = [name for name in PROGRAMS if "\nIS_PLUGIN = True\n" in SOURCES[name]]
UNLISTED = [name for name in PROGRAMS if "\nLISTED = False\n" in SOURCES[name]]


def rows() -> Iterator[tuple[str, str]]:
    """The program of each row of the table, and what the row says of it."""
    page = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")
    for line in page.splitlines():
        if (found := re.search(r"\(\.\./tests/ways_out/programs/(\w+)\.py\)", line)) is not None:
            yield found[1], line.split("|")[2].strip()


class Listeners:
    """For each program a listener of connections, of datagrams, and of connections to a socket of the file system.

    ``reached`` are the programs from which anything came.
    """

    def __init__(self, names: list[str]) -> None:
        self.reached: set[str] = set()
        self._ready = selectors.DefaultSelector()
        self._stopping, self._stop = socket.socketpair()
        self._ready.register(self._stopping, selectors.EVENT_READ, None)
        self.ports: dict[str, int] = {}
        for name in names:
            stream = socket.create_server(("127.0.0.1", 0))
            self.ports[name] = stream.getsockname()[1]
            datagrams = socket.socket(type=socket.SOCK_DGRAM)
            datagrams.bind(("127.0.0.1", self.ports[name]))
            local = socket.socket(socket.AF_UNIX)
            path = Path(f"/tmp/way-out-{self.ports[name]}")
            path.unlink(missing_ok=True)  # of a run that was killed
            local.bind(str(path))
            local.listen()
            for listener in (stream, datagrams, local):
                self._ready.register(listener, selectors.EVENT_READ, name)

    def serve(self) -> None:
        """Take in what comes until ``stop`` is called."""
        while True:
            for key, _ in self._ready.select():
                if key.data is None:
                    return
                self.reached.add(key.data)
                self._answer(key.fileobj)

    @staticmethod
    def _answer(listener: object) -> None:
        assert isinstance(listener, socket.socket)
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(100)
            return
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            if connection.recv(10_000).startswith((b"POST", b"GET")):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

    def stop(self) -> None:
        self._stop.close()

    def close(self) -> None:
        for key in list(self._ready.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        for port in self.ports.values():
            Path(f"/tmp/way-out-{port}").unlink(missing_ok=True)
        self._ready.close()


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    running = Listeners(PROGRAMS)
    thread = threading.Thread(target=running.serve)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join()
        running.close()


def try_all(pytester: pytest.Pytester, listeners: Listeners, *options: str) -> dict[str, str]:
    """Run all programs under the guard. Returns what came of each, as it was noted."""
    notes = pytester.mkdir("notes")
    listed = "\n".join(f"    127.0.0.1:{port}" for name, port in listeners.ports.items() if name not in UNLISTED)
    pytester.makeini(f"[pytest]\naquila_providers =\n{listed}")
    given = {
        "folder": str(FOLDER),
        "ports": listeners.ports,
        "notes": str(notes),
        "plugins": PLUGINS,
        "programs": [name for name in PROGRAMS if name not in PLUGINS],
    }
    pytester.makepyfile(attempts=Path(__file__).with_name("attempts.py").read_text(encoding="utf-8"))
    pytester.makepyfile(test_it="from attempts import *")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAYS_OUT", json.dumps(given))
        patch.setenv("PYTHONPATH", str(pytester.path), prepend=os.pathsep)
        patch.delenv("AQUILA_RUN", raising=False)  # the run of this test guards nothing here
        pytester.runpytest_subprocess("-p", "attempts", "-p", "no:xdist", "-p", "no:cacheprovider", *options)
    return {path.name: path.read_text(encoding="utf-8") for path in notes.iterdir()}


def test_the_table_has_each_program_once() -> None:
    assert sorted(name for name, _ in rows()) == PROGRAMS
    assert {said for _, said in rows()} == {"refused", "not seen"}


@pytest.mark.slow
def test_each_way_out_is_what_the_table_says(pytester: pytest.Pytester, listeners: Listeners) -> None:
    came = try_all(pytester, listeners)
    assert sorted(came) == PROGRAMS
    said = dict(rows())
    found = {name: "not seen" if name in listeners.reached else "refused" for name in PROGRAMS}
    assert found == said, came
    for name in PROGRAMS:
        assert ("LiveCallRefused" in came[name]) == (said[name] == "refused"), (name, came[name])


@pytest.mark.slow
def test_each_way_out_leads_somewhere(pytester: pytest.Pytester, listeners: Listeners) -> None:
    came = try_all(pytester, listeners, "--aquila-transport=live")
    assert sorted(listeners.reached) == PROGRAMS, came
