"""What urllib3 1 does otherwise than urllib3 2 is recorded and replayed as well. `make test-wild` runs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

if os.environ["WILD_GROUP"] != "wild-oldest":
    pytest.skip("urllib3 2 is in this environment", allow_module_level=True)

import requests
import urllib3

import aquila
from tests.support.alike import alike
from tests.support.limits import with_a_limit_in_time
from tests.support.upstream import Answer, Upstream, upstream

PATH = "/v1/chat/completions"


@pytest.fixture
def server(root: Path) -> Iterator[Upstream]:
    with upstream(lambda path, body: Answer(chunks=[body])) as running:
        yield running


def test_this_is_urllib3_1() -> None:
    assert urllib3.__version__.startswith("1.26.")


def test_a_limit_for_reading_holds_on_a_new_connection_and_on_one_that_is_used_again(
    server: Upstream, root: Path
) -> None:
    over = threading.Event()
    answered: list[bool] = []

    def script(path: str, body: bytes) -> Answer:
        first = body == b"at once"
        return Answer(chunks=[b"a", b"b"], before_chunk=lambda number: first or over.wait(60))

    server.script = script

    def scenario(limit: float) -> None:
        def ask(pool: urllib3.PoolManager, body: bytes) -> object:
            waits = urllib3.Timeout(connect=60, read=limit)
            try:
                return pool.request("POST", server.url + PATH, body=body, timeout=waits, retries=False).data
            except urllib3.exceptions.HTTPError as error:
                return type(error)

        def use() -> object:
            with urllib3.PoolManager() as pool:
                return [ask(pool, body) for body in (b"never", b"at once", b"never again")]

        shutil.rmtree(root, ignore_errors=True)
        silent = urllib3.exceptions.ReadTimeoutError
        assert alike(use) == [silent, b"ab", silent]
        answered.append(True)

    try:
        with_a_limit_in_time(scenario, 0.3)
    finally:
        over.set()
    assert answered == [True]


def outcome(url: str) -> type[Exception]:
    with pytest.raises(requests.RequestException) as caught:
        requests.post(url, timeout=60)
    return type(caught.value)


def test_a_refused_connection_is_no_limit_of_time(root: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as closed:
        port = closed.getsockname()[1]
    assert alike(lambda: outcome(f"http://127.0.0.1:{port}{PATH}")) is requests.ConnectionError


def test_text_goes_out_in_latin_1(server: Upstream) -> None:
    assert alike(lambda: urllib3.PoolManager().request("POST", server.url + PATH, body="tern é").data) == b"tern \xe9"


def test_a_body_in_pieces_goes_out_whole(server: Upstream) -> None:
    with aquila.use_cassette("x", transport="record"):
        assert requests.post(server.url + PATH, data=iter([b"one ", b"two"]), timeout=60).content == b"one two"
    assert [body for _, body in server.requests] == [b"one two"]
    with aquila.use_cassette("x") as cassette:
        assert requests.post(server.url + PATH, data=iter([b"one ", b"two"]), timeout=60).content == b"one two"
        assert cassette.all_played
