"""``aquila_sealed_ports``: ports of the machine in a sealed run, and the error that names a port that is missing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.sealing import (
    COMMAND,
    SEALED,
    needs_sealing,
    run_pytest,
    start_sealed_pytest,
    write_tests,
)
from tests.support.slow import nightly_but, slow_but

pytestmark = needs_sealing()

_running: list[tuple[socket.socket, threading.Thread]] = []
"""The servers of the test that runs, and the threads that accept their connections."""


@pytest.fixture(autouse=True)
def _servers_end() -> Iterator[None]:
    yield
    while _running:
        server, accepting = _running.pop()
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()


def serve(address: str, answer: Callable[[socket.socket], None]) -> tuple[int, list[threading.Thread]]:
    """A server of the machine that hands each of its connections to a function in a thread. Returns its port."""
    server = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    answering: list[threading.Thread] = []

    def accept() -> None:
        with server, contextlib.suppress(OSError):  # raised once `_servers_end` has shut it down
            while True:
                connection, _ = server.accept()
                answering.append(threading.Thread(target=answer, args=(connection,), daemon=True))
                answering[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    _running.append((server, accepting))
    return server.getsockname()[1], answering


def answer_after_the_end(connection: socket.socket) -> None:
    """Read to the end of what a client sends, and only then answer with as much: both half-closes must arrive."""
    received = bytearray()
    with connection:
        while piece := connection.recv(65536):
            received += piece
        connection.sendall(received[::-1])


def hand_through(folder: Path, ports: str) -> None:
    (folder / "pytest.ini").write_text(f"[pytest]\naquila_sealed_ports = {ports}\n")


@pytest.mark.parametrize("address", slow_but(["127.0.0.1"], ["127.0.0.1", "::1"]))
@pytest.mark.slow
def test_a_port_of_the_machine_is_reached_at_every_name_of_the_loopback(folder: Path, address: str) -> None:
    port, _ = serve(address, answer_after_the_end)
    other, answered = serve(address, answer_after_the_end)
    hand_through(folder, str(port))
    write_tests(
        folder,
        f"""
        import socket, subprocess, sys, threading
        import pytest

        SENT = bytes(range(256)) * 8192

        def ask(host):
            with socket.create_connection((host, {port}), 60) as there:
                threading.Thread(target=lambda: (there.sendall(SENT), there.shutdown(socket.SHUT_WR))).start()
                received = bytearray()
                while piece := there.recv(65536):
                    received += piece
                assert received == SENT[::-1]

        @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
        def test_it(host):
            ask(host)

        def test_many_at_once():
            failed = []
            def work():
                try:
                    ask("localhost")
                except BaseException as error:
                    failed.append(error)
            threads = [threading.Thread(target=work) for _ in range(20)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert failed == []

        def test_other_processes():
            code = "import socket; socket.create_connection(('localhost', {port}), 60)"
            subprocess.run([sys.executable, "-I", "-c", code], env={{}}, check=True)

        def test_no_other_port():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", {other}))
        """,
    )
    done = run_pytest(folder, env=SEALED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert answered == []


@pytest.mark.slow
def test_a_run_whose_standard_streams_are_closed_has_its_ports(folder: Path) -> None:
    port, _ = serve("127.0.0.1", answer_after_the_end)
    hand_through(folder, str(port))
    write_tests(
        folder,
        f"""
        import socket
        def test_it():
            with socket.create_connection(("127.0.0.1", {port}), 60) as there:
                there.sendall(b"forth")
                there.shutdown(socket.SHUT_WR)
                assert there.recv(100) == b"htrof"
        """,
    )
    closed = ("sh", "-c", 'exec "$@" <&- 2>&-', "sh", COMMAND)  # and pytest must let them be
    done = run_pytest(folder, "-s", "-p", "no:faulthandler", command=closed, env=SEALED)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_process_outside_is_no_child_of_the_run_and_holds_nothing_of_it(folder: Path) -> None:
    port, _ = serve("127.0.0.1", answer_after_the_end)
    hand_through(folder, str(port))
    write_tests(
        folder,
        """
        import os
        import pytest

        def test_it():
            with pytest.raises(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
        """,
    )
    done = run_pytest(folder, env=SEALED)  # returns when nobody holds its output any more
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Held:
    """A sealed run whose test keeps a connection open and waits."""

    run: subprocess.Popen[str]
    port: str
    ended: threading.Event
    """Whether the server has seen the end of the connection."""


@pytest.fixture
def held(folder: Path) -> Iterator[Held]:
    ended = threading.Event()

    def hold(connection: socket.socket) -> None:
        with connection:
            while connection.recv(100):
                connection.sendall(b"x")
            ended.set()

    port, _ = serve("127.0.0.1", hold)
    hand_through(folder, str(port))
    write_tests(
        folder,
        f"""
        import socket, threading
        import pytest

        @pytest.fixture
        def connection():
            with socket.create_connection(("127.0.0.1", {port}), 60) as there:
                yield there
                there.sendall(b"x")
                assert there.recv(1) == b"x"
                print("STILL CONNECTED")

        def test_it(connection):
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            print("WAITS", flush=True)
            threading.Event().wait(60)
        """,
    )
    with start_sealed_pytest(folder) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "WAITS" in line:
                break
        yield Held(running, str(port), ended)
        running.kill()


@pytest.mark.slow
def test_a_killed_run_takes_its_ports_with_it(held: Held) -> None:
    assert len(carriers_of(held.port)) == 1
    held.run.kill()
    assert held.ended.wait(60)
    while carriers_of(held.port):  # the time limit of the suite ends this
        os.sched_yield()


@pytest.mark.slow
def test_ctrl_c_leaves_the_ports_until_the_teardown_is_done(held: Held) -> None:
    os.killpg(held.run.pid, signal.SIGINT)
    assert held.run.stdout is not None
    assert "STILL CONNECTED" in held.run.stdout.read()
    assert held.run.wait(60) == 2
    assert held.ended.wait(60)


def carriers_of(port: str) -> list[str]:
    """The processes outside that carry a port. They still have the command line of the program that started them."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parts = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                handed = os.readlink(folder / "cwd") == "/" and "-I" in parts
            except OSError:
                continue
            if handed and port in parts:
                found.append(folder.name)
    return found


@pytest.mark.slow
def test_where_nothing_listens_outside_the_connection_breaks(folder: Path) -> None:
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))  # and does not listen
    port = silent.getsockname()[1]
    hand_through(folder, str(port))
    write_tests(
        folder,
        f"""
        import socket
        import pytest

        def test_it():
            with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", {port}), 60) as there:
                there.recv(1)
        """,
    )
    with silent:
        done = run_pytest(folder, env=SEALED)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("ports", slow_but(["65536"], ["10.0.0.1:80", "0", "65536", "postgres", "-1"]))
def test_what_is_no_port_is_a_usage_error(folder: Path, ports: str) -> None:
    hand_through(folder, ports)
    write_tests(folder, "def test_it(): open('ran', 'w')")
    done = run_pytest(folder, env=SEALED)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "ERROR: pytest.ini: aquila_sealed_ports" in done.stderr
    assert not (folder / "ran").exists()


HINT = "Nothing listens on port {0} within this sealed run (aquila_guard = sealed)"
REFUSED = {
    "python": "import socket; socket.create_connection(('localhost', {0}))",
    "asyncio": "import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', {0}))",
    "redis": "import redis; redis.Redis(port={0}).ping()",
    "libpq": "import psycopg; psycopg.connect('host=127.0.0.1 port={0} connect_timeout=5')",
    "urllib3": "import urllib3; urllib3.request('GET', 'http://127.0.0.1:{0}/', retries=False)",
    "child": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket; "
    'socket.create_connection((chr(49) + "27.0.0.1", {0}))\'], check=True)',
}


@pytest.mark.parametrize("client", nightly_but(["python", "child"], REFUSED))
def test_the_error_names_the_port_that_is_not_reached(folder: Path, client: str) -> None:
    port, answering = serve("127.0.0.1", answer_after_the_end)
    write_tests(folder, f"def test_it():\n    {REFUSED[client].format(port)}")
    done = run_pytest(folder, env=SEALED)
    assert done.returncode == 1, done.stdout + done.stderr
    assert HINT.format(port) in done.stdout
    assert f"aquila_sealed_ports = {port}" in done.stdout
    assert answering == []


@pytest.mark.slow
def test_no_other_failure_names_a_port(folder: Path) -> None:
    write_tests(
        folder,
        """
        import socket
        server = socket.create_server(("127.0.0.1", 0))

        def test_open_port():
            raise RuntimeError(f"it refused: localhost:{server.getsockname()[1]}, line 12")

        def test_other_host():
            raise RuntimeError("connection refused: db.example:5432")

        def test_other_error():
            raise RuntimeError("localhost:5432: the password is wrong")
        """,
    )
    done = run_pytest(folder, env=SEALED)
    assert done.returncode == 1
    assert "3 failed" in done.stdout
    assert "Nothing listens on port" not in done.stdout


@pytest.mark.slow
def test_an_unsealed_run_says_nothing_of_ports(folder: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        port = silent.getsockname()[1]
        write_tests(folder, f"import socket\ndef test_it(): socket.create_connection(('127.0.0.1', {port}))")
        done = run_pytest(folder, env={"AQUILA_GUARD": "all"})
    assert done.returncode == 1
    assert "sealed run" not in done.stdout
