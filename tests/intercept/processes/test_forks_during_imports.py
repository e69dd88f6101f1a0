"""A process forks while another thread imports its first client: the child imports it, too, and is guarded."""

from __future__ import annotations

import importlib
import json
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aquila.intercept import patching
from aquila.intercept.patching import ImportHooks
from tests.support.forked import LIMIT, do_in_child
from tests.support.slow import nightly_but
from tests.support.upstream import Answer, Upstream

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


class SlowImport:
    """An import that has begun, and goes on when ``go`` is set."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()


@pytest.fixture
def importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowImport]:
    """A thread is importing ``slow_client``, on top of the library ``slow_transport`` that somebody waits for."""
    (tmp_path / "slow_client.py").write_text("import slow_transport\nanswer = slow_transport.patched\n")
    wait = f"threading.slow_import.begun.set()\nthreading.slow_import.go.wait({LIMIT})"
    (tmp_path / "slow_transport.py").write_text(f"import threading\n{wait}\npatched = False\n")
    monkeypatch.syspath_prepend(tmp_path)
    slow, hooks = SlowImport(), ImportHooks()
    monkeypatch.setattr(threading, "slow_import", slow, raising=False)
    hooks.call_when_imported(["slow_transport"], lambda _name, module: setattr(module, "patched", True))
    thread = threading.Thread(target=importlib.import_module, args=("slow_client",))
    thread.start()
    slow.begun.wait()
    yield slow
    slow.go.set()
    thread.join()
    hooks.stop_waiting(["slow_transport"])
    for name in ("slow_client", "slow_transport"):
        del sys.modules[name]


def test_a_child_imports_the_client_that_another_thread_was_importing(
    importing: SlowImport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_it() -> None:
        assert importlib.import_module("slow_client").answer is True

    def go_on_and_wait(is_over: Callable[[], object], seconds: float) -> bool:
        assert not is_over()
        importing.go.set()  # Not before the fork has begun to wait.
        return wait(is_over, LIMIT)

    wait = patching.wait_before_fork
    monkeypatch.setattr(patching, "wait_before_fork", go_on_and_wait)
    assert do_in_child(import_it) == 0


def test_an_import_without_end_holds_up_one_fork(importing: SlowImport, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_and_note(is_over: Callable[[], object], seconds: float) -> bool:
        waited.append(wait(is_over, seconds))
        return waited[-1]

    wait, waited = patching.wait_before_fork, list[bool]()
    monkeypatch.setattr(patching, "_LONGEST_IMPORT", 0.05)
    monkeypatch.setattr(patching, "_endless", set())
    monkeypatch.setattr(patching, "wait_before_fork", wait_and_note)
    assert [do_in_child(lambda: None) for _ in range(2)] == [0, 0]
    assert waited == [False, True]


FORKING = """
    import asyncio, concurrent.futures, importlib, multiprocessing, os, signal, sys, threading
    import pytest

    URL, LIMIT = "{url}", {limit}

    def ask_openai(prompt):
        import openai
        client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0)
        answer = client.chat.completions.create(model="m", messages=[{{"role": "user", "content": prompt}}])
        return answer.choices[0].message.content

    def ask_httpx(prompt):
        import httpx
        return httpx.post(URL, json=prompt).json()["choices"][0]["message"]["content"]

    def ask_requests(prompt):
        import requests
        return requests.post(URL, json=prompt).json()["choices"][0]["message"]["content"]

    def ask_aiohttp(prompt):
        import aiohttp
        async def ask():
            async with aiohttp.ClientSession() as session, session.post(URL, json=prompt) as answer:
                return (await answer.json(content_type=None))["choices"][0]["message"]["content"]
        return asyncio.run(ask())

    CLIENTS = {{
        "openai": (ask_openai, "openai._base_client"),
        "httpx": (ask_httpx, "httpx._client"),
        "requests": (ask_requests, "requests.sessions"),
        "aiohttp": (ask_aiohttp, "aiohttp.client"),
    }}

    def ask_in_child(client):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT)
        said = CLIENTS[client][0]("child")
        try:
            said += CLIENTS[client][0]("something that is not recorded")
        except BaseException as error:
            said += " " + type(error).__name__
        return said

    def fork(client):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, ask_in_child(client).encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with open(read) as told:
            return told.read()

    def use_pool(client):
        with multiprocessing.get_context("fork").Pool(1) as pool:
            return pool.apply_async(ask_in_child, (client,)).get(LIMIT)

    def use_executor(client):
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(ask_in_child, client).result(LIMIT)

    class SlowFinder:
        def __init__(self, name):
            self.name, self.begun, self.never = name, threading.Event(), threading.Event()

        def find_spec(self, name, path=None, target=None):
            if name == self.name:
                self.begun.set()
                self.never.wait(0.3)

    @pytest.mark.aquila(loopback="all")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    @pytest.mark.parametrize(
        ("client", "start"),
        [("openai", fork), ("httpx", use_pool), ("requests", use_executor), ("aiohttp", fork)],
        ids=["openai", "httpx", "requests", "aiohttp"],
    )
    def test_it(client, start, aquila_cassette):
        ask, slow = CLIENTS[client]
        if "RECORDING" in os.environ:
            assert [ask("parent"), ask("child")] == ["parent", "child"]
            return
        assert client not in sys.modules
        finder = SlowFinder(slow)
        sys.meta_path.insert(0, finder)
        thread = threading.Thread(target=importlib.import_module, args=(client,))
        thread.start()
        finder.begun.wait()
        told = start(client)
        thread.join()
        assert told == "child CassetteMiss"
        assert ask("parent") == "parent"
"""


@pytest.mark.slow
@pytest.mark.parametrize("client", nightly_but(["openai", "requests"], ["openai", "httpx", "requests", "aiohttp"]))
def test_a_child_replays_while_another_thread_of_the_test_was_importing_its_first_client(
    client: str, pytester: pytest.Pytester, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def echo(path: str, body: bytes) -> Answer:
        asked = json.loads(body)
        text = asked if isinstance(asked, str) else asked["messages"][0]["content"]
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return Answer(chunks=[json.dumps(answer).encode()])

    server.script = echo
    pytester.makepyfile(test_it=textwrap.dedent(FORKING).format(url=server.url, limit=LIMIT))
    plain = ("-p", "no:cacheprovider", "-p", "no:xdist", "-k", client)
    with monkeypatch.context() as patch:
        patch.setenv("RECORDING", "yes")
        pytester.runpytest_subprocess("--aquila-record", *plain).assert_outcomes(passed=1)
    asked = len(server.requests)
    # What the child was refused fails the test that has started it, at its end.
    found = pytester.runpytest_subprocess(*plain, timeout=4 * LIMIT)
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*something that is not recorded*"])
    found.stdout.no_fnmatch_line("*AssertionError*")
    assert len(server.requests) == asked
