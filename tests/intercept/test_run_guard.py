"""What a run has in force before it has loaded what catches clients: the first thing that happens is caught, too.

In processes of their own, in which nothing has imported a client. Each begins in a conftest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aquila.intercept.provider_keys import dummies_for_answers
from tests.support.slow import slow_but

KEY = "machines-own-key-1234567890"

BEGINNING = """
    import os, sys

    def refused(ask):
        \"\"\"How the guard refuses what is asked for; what else came of it if it does not.\"\"\"
        try:
            return f"answered {ask()!r}"
        except BaseException as error:
            return type(error).__name__

    def connect():
        import socket
        socket.create_connection(("192.0.2.1", 443), timeout=60)

    def resolve():
        import socket
        return socket.getaddrinfo("api.openai.com", 443)

    def send_datagram():
        import socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            return sender.sendto(b"x", ("192.0.2.1", 443))

    def ask_standard_library():
        import http.client
        http.client.HTTPSConnection("api.openai.com", timeout=60).request("GET", "/v1/models")

    def ask_httpx():
        import httpx2
        return httpx2.get("https://api.openai.com/v1/models")

    def in_thread(ask):
        import threading
        came = []
        thread = threading.Thread(target=lambda: came.append(refused(ask)))
        thread.start()
        thread.join()
        return came[0]

    def in_fork(ask):
        child = os.fork()
        if not child:
            os._exit(0 if refused(ask) == "LiveCallRefused" else 1)
        return "LiveCallRefused" if os.waitpid(child, 0)[1] == 0 else "not refused in a forked child"

    def in_child(code):
        import subprocess
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return "LiveCallRefused" if "LiveCallRefused" in done.stderr else f"child: {done.stderr}"

    def in_loop():
        import asyncio
        async def open_connection():
            await asyncio.open_connection("192.0.2.1", 443)
        asyncio.run(open_connection())

    def at_once(*asking):
        import threading
        came, barrier = [], threading.Barrier(len(asking))
        def begin(ask):
            barrier.wait()
            came.append(refused(ask))
        threads = [threading.Thread(target=begin, args=(ask,)) for ask in asking]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        return ", ".join(sorted(set(came)))

    def in_scope():
        import aquila
        with aquila.use_cassette("nothing-recorded"):
            return refused(ask_standard_library)

    assert "aquila.intercept.activation" not in sys.modules, "the beginning of this run is not what is to be tried"
    print("key", os.environ["OPENAI_API_KEY"], os.environ["ANTHROPIC_API_KEY"])
"""

FIRST = {
    "a connection": "refused(connect)",
    "a name": "refused(resolve)",
    "a datagram": "refused(send_datagram)",
    "a client of the standard library": "refused(ask_standard_library)",
    "a client that is installed": "refused(ask_httpx)",
    "a loop": "refused(in_loop)",
    "a thread": "in_thread(connect)",
    "a thread that imports a client": "in_thread(ask_httpx)",
    "a forked child": "in_fork(connect)",
    "a forked child that imports a client": "in_fork(ask_standard_library)",
    "a child": "in_child('import socket; socket.create_connection((\\'192.0.2.1\\', 443), timeout=60)')",
    "many threads at once": "at_once(*[connect, resolve, ask_standard_library, send_datagram, ask_httpx] * 4)",
}
"""What may be the first thing in a run that has to be caught."""


def run_pytest(folder: Path, *options: str, conftest: str, test: str) -> str:
    """Run a test on a machine with a key, in a process that has loaded no client. Returns what it has printed."""
    (folder / "pytest.ini").write_text("[pytest]\naquila_guard = all\n")  # addresses too, and not models alone
    (folder / "conftest.py").write_text(textwrap.dedent(BEGINNING) + textwrap.dedent(conftest))
    (folder / "test_it.py").write_text(textwrap.dedent(test))
    unknown = {*dummies_for_answers(()), "AQUILA_SESSION", "PYTHONPATH"}
    variables = {name: value for name, value in os.environ.items() if name not in unknown}
    plugins = ("-p", "no:cacheprovider", "-p", "pytest_aquila.plugin")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", "-q", *plugins, *options],
        cwd=folder,
        env=variables | {"OPENAI_API_KEY": KEY, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "what", slow_but(["a connection", "a client of the standard library", "many threads at once"], FIRST)
)
def test_the_first_thing_in_a_run_is_caught(what: str, tmp_path: Path) -> None:
    conftest = f'print("came", {FIRST[what]})\nprint("again", refused(connect), refused(ask_standard_library))'
    shown = run_pytest(tmp_path, conftest=conftest, test="def test_nothing(): pass")
    assert "key aquila-no-key aquila-no-key\n" in shown
    assert "came LiveCallRefused\n" in shown
    assert "again LiveCallRefused LiveCallRefused\n" in shown


@pytest.mark.slow
def test_a_scope_that_is_the_first_thing_in_a_run_answers_it(tmp_path: Path) -> None:
    shown = run_pytest(
        tmp_path, conftest='print("came", in_scope(), refused(connect))', test="def test_nothing(): pass"
    )
    assert "came CassetteMiss LiveCallRefused\n" in shown


@pytest.mark.slow
def test_a_run_within_a_run_in_which_nothing_has_happened_leaves_it_as_it_was(tmp_path: Path) -> None:
    within = """
        import os

        def test_within(pytester):
            before = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
            pytester.makepyfile("import os\\ndef test_it(): assert os.environ['OPENAI_API_KEY'] == 'aquila-no-key'")
            pytester.runpytest_inprocess("-p", "pytest_aquila.plugin").assert_outcomes(passed=1)
            assert {name: os.environ.get(name) for name in before} == before
    """
    after = """
        def pytest_sessionfinish():
            print("after", refused(connect), refused(ask_standard_library), os.environ["OPENAI_API_KEY"])
    """
    shown = run_pytest(tmp_path, "-p", "pytester", conftest=after, test=within)
    assert "1 passed" in shown
    assert "after LiveCallRefused LiveCallRefused aquila-no-key\n" in shown
