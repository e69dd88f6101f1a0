"""Clients that Aquila did not build are recorded and replayed while a cassette is in use, and left alone otherwise."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteMiss, CassetteRequired, SessionClosed
from aquila.transports import CORE_LIBRARIES
from tests.support.alike import alike, replayed_alike
from tests.support.clients import Ask, body, httpx_like, words
from tests.support.upstream import Answer, Upstream, chat_chunks, streamed

LIBRARIES = {library.__name__: library for library in (httpx2, httpx)}
ASKS = [
    pytest.param(ask, id=f"{name}-{kind}")
    for name, library in LIBRARIES.items()
    for kind, ask in httpx_like(library).items()
]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    return LIBRARIES[request.param]


def post(client: Any, server: Upstream, prompt: str, path: str = "/v1/chat/completions") -> bytes:
    content: bytes = client.post(server.url + path, json=body(prompt)).content
    return content


@pytest.mark.parametrize("ask", ASKS)
def test_a_client_records_and_replays_chunk_by_chunk(ask: Ask, server: Upstream) -> None:
    assert replayed_alike(lambda: ask(server.url, "hi")) == chat_chunks("one two three")
    assert len(server.requests) == 1


@pytest.mark.parametrize("ask", ASKS)
def test_a_miss_reaches_the_caller_as_it_is(ask: Ask, server: Upstream) -> None:
    with aquila.use_cassette("x", transport="record"):
        ask(server.url, "recorded")
    with aquila.use_cassette("x") as cassette, pytest.raises(CassetteMiss, match="messages"):
        ask(server.url, "something else")
    assert len(cassette.misses) == 1
    assert len(server.requests) == 1


def test_a_recording_of_one_library_replays_to_every_other(server: Upstream) -> None:
    asks = [httpx_like(library)[kind] for library in LIBRARIES.values() for kind in ("sync", "async")]
    with aquila.use_cassette("x", transport="record"):
        asks[0](server.url, "hi")
    for ask in asks:
        with aquila.use_cassette("x"):
            assert "".join(words(ask(server.url, "hi"))) == "one two three"


def test_a_chunk_reaches_the_caller_before_the_next_one_is_sent(library: Any, server: Upstream) -> None:
    received = threading.Event()

    def hold_back(number: int) -> None:
        if number == 1:
            assert received.wait(60), "the first chunk was held back"

    server.script = lambda path, body: streamed("one two three", before_chunk=hold_back)
    with (
        aquila.use_cassette("x", transport="record"),
        library.Client() as client,
        client.stream("POST", f"{server.url}/v1/chat/completions", json={}) as response,
    ):
        chunks = response.iter_raw()
        first = next(chunks)
        received.set()
        assert [first, *chunks] == chat_chunks("one two three")


def test_a_stream_that_breaks_breaks_again_in_the_clients_own_terms(library: Any, server: Upstream) -> None:
    server.script = lambda path, body: Answer(chunks=chat_chunks("one two")[:3], breaks=True)

    def broken() -> tuple[list[bytes], str]:
        seen: list[bytes] = []
        with (
            pytest.raises(library.TransportError) as caught,
            library.Client() as client,
            client.stream("POST", f"{server.url}/v1/chat/completions", json={}) as response,
        ):
            seen.extend(response.iter_raw())
        return seen, caught.type.__name__

    assert alike(broken) == (chat_chunks("one two")[:3], "RemoteProtocolError")


def test_an_upstream_that_cannot_be_reached_fails_in_the_clients_own_terms(library: Any, root: Path) -> None:
    with (
        aquila.use_cassette("x", transport="record"),
        library.Client() as client,
        pytest.raises(library.ConnectError),
    ):
        client.post("http://127.0.0.1:1/v1/chat/completions", json={})


def test_clients_made_before_within_and_used_after(library: Any, server: Upstream) -> None:
    before = library.Client()
    with aquila.use_cassette("x", transport="record"):
        within = library.Client()
        post(before, server, "one")
        post(within, server, "two")
    with aquila.use_cassette("x"):
        post(before, server, "two")
        post(within, server, "one")
    assert len(server.requests) == 2
    for client in (before, within):
        post(client, server, "three")
        client.close()
    assert len(server.requests) == 4


def test_outside_a_test_run_nothing_is_patched_before_and_after_a_block(tmp_path: Path) -> None:
    code = """
    import sys
    import aquila

    meta_path = list(sys.meta_path)
    with aquila.use_cassette("early"):
        import httpx  # a library that is imported in the block is caught too
        assert hasattr(httpx.HTTPTransport.handle_request, "__wrapped__")
    assert sys.meta_path == meta_path
    import httpx2

    def methods():
        return [
            vars(owner)[name]
            for library in (httpx, httpx2)
            for owner, name in (
                (library.HTTPTransport, "handle_request"),
                (library.HTTPTransport, "__init__"),
                (library.AsyncHTTPTransport, "handle_async_request"),
                (library.AsyncHTTPTransport, "__init__"),
            )
        ]

    def patched():
        return {hasattr(method, "__wrapped__") for method in methods()}

    before = methods()
    assert patched() == {False}
    with aquila.use_cassette("outer"):
        inside = methods()
        assert patched() == {True}
        with aquila.use_cassette("inner"):
            assert methods() == inside
        assert methods() == inside
    assert methods() == before
    try:
        with aquila.use_cassette("failing"):
            raise RuntimeError
    except RuntimeError:
        assert methods() == before
    first, second = aquila.use_cassette("first"), aquila.use_cassette("second")
    first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    assert patched() == {True}
    second.__exit__(None, None, None)
    assert methods() == before
    """
    surroundings = {name: value for name, value in os.environ.items() if name not in ("AQUILA_RUN", "PYTHONPATH")}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    subprocess.run(command, check=True, cwd=tmp_path, env=surroundings)


def test_a_tool_that_patches_on_top_and_stays_is_not_torn_down(
    server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    with aquila.use_cassette("x", transport="record"):
        beneath = httpx2.HTTPTransport.handle_request

        def on_top(self: Any, request: httpx2.Request) -> httpx2.Response:
            seen.append(request.url.path)
            return beneath(self, request)

        monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", on_top)
    with httpx2.Client() as client:
        post(client, server, "hi")
    assert httpx2.HTTPTransport.handle_request is on_top
    assert (len(seen), len(server.requests)) == (1, 1)


def test_of_nested_cassettes_the_inner_one_answers(server: Upstream, root: Path) -> None:
    with aquila.use_cassette("outer", transport="record"), httpx2.Client() as client:
        post(client, server, "one")
        with aquila.use_cassette("inner", transport="record"):
            post(client, server, "two")
        post(client, server, "three")
    assert [len(load_cassette(root / f"{name}.yaml").interactions) for name in ("outer", "inner")] == [2, 1]


def test_cassettes_in_threads_beside_each_other_keep_apart(server: Upstream, root: Path) -> None:
    server.script = lambda path, body: Answer(chunks=[body])
    barrier = threading.Barrier(4)
    answers: dict[int, bytes] = {}

    def run(number: int, transport: str) -> None:
        with aquila.use_cassette(f"thread-{number}", transport=transport), httpx2.Client() as client:
            barrier.wait(60)
            answers[number] = post(client, server, f"prompt {number}")
            barrier.wait(60)

    for transport in ("record", "replay"):
        answers.clear()
        threads = [threading.Thread(target=run, args=(number, transport)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(f"prompt {number}".encode() in answers[number] for number in range(4))
    assert len(server.requests) == 4
    assert all(len(load_cassette(root / f"thread-{number}.yaml").interactions) == 1 for number in range(4))


def test_requests_go_through_while_another_thread_still_imports_what_the_library_needs(
    library: Any, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aquila.use_cassette("x", transport="record"), library.Client() as client:
        recorded = post(client, server, "hi")
    core = CORE_LIBRARIES[library.__name__]
    half = types.ModuleType(core)
    half.__spec__ = importlib.util.spec_from_loader(core, None)
    monkeypatch.setattr(half.__spec__, "_initializing", True, raising=False)
    with aquila.use_cassette("x"), library.Client() as client:
        monkeypatch.setitem(sys.modules, core, half)
        assert post(client, server, "hi") == recorded


def test_a_thread_that_belongs_to_none_of_several_cassettes_is_refused(server: Upstream) -> None:
    first, second = aquila.use_cassette("first", transport="record"), aquila.use_cassette("second", transport="record")
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with second:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    caught: list[BaseException] = []

    def stranger() -> None:
        with httpx2.Client() as client:
            try:
                post(client, server, "hi")
            except CassetteRequired as error:
                caught.append(error)

    with first:
        thread.start()
        assert entered.wait(60)
        lost = threading.Thread(target=stranger)
        lost.start()
        lost.join()
        leave.set()
        thread.join()
    assert len(caught) == 1
    assert server.requests == []


@pytest.mark.parametrize(
    ("settings", "path", "recorded"),
    [
        ({}, "/v1/chat/completions", True),
        ({}, "/openai/deployments/x/chat/completions", True),
        ({}, "/v1/models/gemini:streamGenerateContent", True),
        ({}, "/api/generate", True),
        ({}, "/shop/orders", False),
        ({"loopback": "all"}, "/shop/orders", True),
        ({"loopback": "none"}, "/v1/chat/completions", False),
        ({"ignore_hosts": "127.0.0.1"}, "/v1/chat/completions", False),
        ({"ignore_hosts": "127.*:*"}, "/v1/chat/completions", False),
        ({"ignore_hosts": "example.org"}, "/v1/chat/completions", True),
        ({"providers": "127.0.0.1"}, "/shop/orders", True),
    ],
)
def test_which_requests_to_this_machine_are_recorded(
    settings: dict[str, str], path: str, recorded: bool, server: Upstream
) -> None:
    with aquila.use_cassette("x", transport="record", **settings) as cassette, httpx2.Client() as client:
        post(client, server, "hi", path)
        assert cassette.record_count == int(recorded)
    assert len(server.requests) == 1


def test_a_users_mock_is_left_alone(library: Any, root: Path) -> None:
    mock = library.MockTransport(lambda request: library.Response(200, text="mock"))
    with aquila.use_cassette("x") as cassette:
        with library.Client(transport=mock) as client:
            assert client.post("https://api.openai.com/v1/chat/completions").text == "mock"
        assert not cassette.misses


def test_applications_in_the_process_are_left_alone(library: Any, root: Path) -> None:
    def wsgi(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("content-type", "text/plain")])
        return [b"wsgi"]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"asgi"})

    async def ask() -> str:
        async with library.AsyncClient(transport=library.ASGITransport(asgi)) as client:
            return str((await client.post("https://api.openai.com/v1/chat/completions")).text)

    with aquila.use_cassette("x") as cassette:
        with library.Client(transport=library.WSGITransport(wsgi)) as client:
            assert client.post("https://api.openai.com/v1/chat/completions").text == "wsgi"
        assert anyio.run(ask) == "asgi"
        assert not cassette.misses


def test_mounted_transports_and_proxies_are_caught_like_any_other(library: Any, root: Path) -> None:
    mounted = library.Client(mounts={"https://api.openai.com": library.HTTPTransport()})
    proxied = library.Client(proxy="http://127.0.0.1:1")
    with aquila.use_cassette("x") as cassette:
        for client in (mounted, proxied):
            with client, pytest.raises(CassetteMiss):
                client.post("https://api.openai.com/v1/chat/completions")
        assert len(cassette.misses) == 2


def test_a_recording_goes_through_the_clients_own_proxy(library: Any, server: Upstream) -> None:
    with aquila.use_cassette("x", transport="record"), library.Client(proxy=server.url, trust_env=False) as client:
        answer = client.post("http://provider.example/v1/chat/completions", json={})
    assert answer.content == b"".join(chat_chunks("one two three"))
    assert [path for path, _ in server.requests] == ["http://provider.example/v1/chat/completions"]


def test_aquilas_own_requests_are_recorded_once(server: Upstream, root: Path) -> None:
    with aquila.use_cassette("x", transport="record"), aquila.http_client() as client:
        client.post(f"{server.url}/v1/chat/completions", json={"a": 1})
    assert len(load_cassette(root / "x.yaml").interactions) == 1
    assert len(server.requests) == 1


def test_live_records_and_replays_nothing(server: Upstream) -> None:
    with aquila.use_cassette("x", transport="live") as cassette, httpx2.Client() as client:
        post(client, server, "hi")
        post(client, server, "hi")
        assert cassette.record_count == 0
    assert len(server.requests) == 2


def test_a_context_that_outlives_its_cassette_is_told_so(server: Upstream) -> None:
    import contextvars

    with aquila.use_cassette("x", transport="record"):
        context = contextvars.copy_context()
    with aquila.use_cassette("y", transport="record"), httpx2.Client() as client, pytest.raises(SessionClosed):
        context.run(post, client, server, "hi")
    assert server.requests == []


def test_a_decorated_function_is_covered_sync_and_async(server: Upstream) -> None:
    @aquila.use_cassette("x", transport="record")
    def ask() -> bytes:
        with httpx2.Client() as client:
            return post(client, server, "hi")

    @aquila.use_cassette("x")
    async def replayed() -> bytes:
        async with httpx2.AsyncClient() as client:
            return (await client.post(f"{server.url}/v1/chat/completions", json=body("hi"))).content

    assert ask() == anyio.run(replayed)
    assert len(server.requests) == 1


def test_a_mock_without_a_name_answers_around_a_cassette(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = library.Response(200, text="mocked")
    nameless = staticmethod(functools.partial(lambda request: answer))
    monkeypatch.setattr(library.HTTPTransport, "handle_request", nameless)
    with aquila.use_cassette("x"), library.Client() as client:
        assert client.get("https://api.openai.com/v1/models").text == "mocked"


@pytest.mark.parametrize("ask", ["stream by hand", "no length"])
def test_an_upstream_gets_the_fields_that_a_client_has_left_out(ask: str, server: Upstream) -> None:
    request = httpx.Request("POST", server.url + "/v1/chat/completions", stream=httpx.ByteStream(body_bytes("hi")))
    if ask == "no length":
        request = httpx.Request("POST", str(request.url), content=body_bytes("hi"))
        del request.headers["content-length"]
    with aquila.use_cassette("x", transport="record", upstream="httpx2:HTTPTransport"), httpx.Client() as client:
        assert client.send(request).status_code == 200
    assert server.requests[0][1] == body_bytes("hi")
    fields = server.headers[0]
    assert (fields["host"], fields["content-length"]) == (request.url.netloc.decode(), str(len(body_bytes("hi"))))


@pytest.mark.parametrize("pieces", [2, 5000])
def test_a_body_that_is_sent_in_chunks_gets_no_length_beside_them(library: Any, pieces: int, server: Upstream) -> None:
    with aquila.use_cassette("x", transport="record"), library.Client() as client:
        client.post(server.url + "/v1/chat/completions", content=iter([b"x" * 100] * pieces))
    assert server.requests[0][1] == b"x" * 100 * pieces
    assert server.headers[0]["transfer-encoding"] == "chunked"
    assert "content-length" not in server.headers[0]  # servers refuse a request with both


def body_bytes(prompt: str) -> bytes:
    return json.dumps(body(prompt)).encode()
