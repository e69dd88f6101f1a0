"""Clients that are not on httpx use the same cassette: the same keys, the same misses, nothing secret."""

from __future__ import annotations

import array
import asyncio
import contextlib
import http.client
import io
import json
import sys
import tomllib
import types
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import boto3
import botocore.config
import httplib2
import httpx
import httpx2
import openai
import pytest
import requests
import urllib3

import aquila
from aquila import optional
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteMiss, MissingDependency
from aquila.optional import OLDEST_VCRPY
from tests.support.alike import alike, replayed_alike
from tests.support.runs import name_upstream
from tests.support.traffic import ROOT
from tests.support.upstream import Answer, Upstream

Post = Callable[[str, Any], tuple[int, bytes]]
PATH = "/v1/chat/completions"
KEY = "sk-proj-abcdefghij0123456789abcdefghij"


def by_requests(url: str, body: Any) -> tuple[int, bytes]:
    answer = requests.post(url, json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    return answer.status_code, answer.content


def by_a_session(url: str, body: Any) -> tuple[int, bytes]:
    with requests.Session() as session, session.post(url, json=body, stream=True, timeout=60) as answer:
        return answer.status_code, b"".join(answer.iter_content(None))


def by_urllib3(url: str, body: Any) -> tuple[int, bytes]:
    answer = urllib3.request("POST", url, json=body)
    return answer.status, answer.data


def by_httplib2(url: str, body: Any) -> tuple[int, bytes]:
    headers = {"content-type": "application/json"}
    answer, content = httplib2.Http().request(url, "POST", body=json.dumps(body), headers=headers)
    return int(answer.status), content


def by_aiohttp(url: str, body: Any) -> tuple[int, bytes]:
    async def go() -> tuple[int, bytes]:
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            return answer.status, await answer.read()

    return asyncio.run(go())


WAYS = [by_requests, by_a_session, by_urllib3, by_httplib2, by_aiohttp]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def post(request: pytest.FixtureRequest) -> Post:
    way: Post = request.param
    return way


@pytest.fixture
def echoing(server: Upstream) -> Upstream:
    server.script = lambda path, body: Answer(201, chunks=[b"echo ", body])
    return server


def test_it_records_and_replays_each_request_in_its_turn(post: Post, server: Upstream, root: Path) -> None:
    answers = iter([b"1", b"2", b"3"])
    server.script = lambda path, body: Answer(201, chunks=[next(answers), b" ", body])
    url = server.url + PATH
    same, other = {"prompt": "hi"}, {"prompt": "ho"}
    with aquila.use_cassette("x", transport="record"):
        recorded = [post(url, same), post(url, same)]
    with aquila.use_cassette("x", transport="record"):  # what matches is kept, and the rest recorded
        recorded = [post(url, same), post(url, same), post(url, other)]
    for number, (status, content) in enumerate(recorded, 1):
        assert (status, content[:2], json.loads(content[2:])) == (201, b"%d " % number, other if number == 3 else same)
    with aquila.use_cassette("x") as cassette:
        assert [post(url, same), post(url, same), post(url, other)] == recorded
        assert cassette.all_played
    assert len(server.requests) == len(load_cassette(root / "x.yaml").interactions) == 3


def test_a_miss_is_raised_with_its_reason_and_nothing_goes_out(post: Post, echoing: Upstream) -> None:
    url = echoing.url + PATH
    with aquila.use_cassette("x", transport="record"):
        post(url, {"prompt": "hi"})
    with aquila.use_cassette("x") as cassette, pytest.raises(CassetteMiss, match="prompt: recorded 'hi', now 'ho'"):
        post(url, {"prompt": "ho"})
    assert len(cassette.misses) == 1
    assert len(echoing.requests) == 1


def test_a_recording_of_any_client_replays_to_every_other(post: Post, echoing: Upstream) -> None:
    url = echoing.url + PATH
    with aquila.use_cassette("x", transport="record"):
        recorded = post(url, {"prompt": "hi"})
    with aquila.use_cassette("x"), httpx2.Client() as client:
        assert client.post(url, json={"prompt": "hi"}).content == recorded[1]
    with aquila.use_cassette("y", transport="record"), httpx2.Client() as client:
        client.post(url, json={"prompt": "hi"})
    with aquila.use_cassette("y"):
        assert post(url, {"prompt": "hi"}) == (201, b'echo {"prompt":"hi"}')


def test_no_key_is_stored(echoing: Upstream, root: Path) -> None:
    echoing.script = lambda path, body: Answer(401, chunks=[f"wrong key {KEY}".encode()])
    with aquila.use_cassette("x", transport="record"):
        by_requests(echoing.url + PATH, {"a": 1})
    assert KEY not in (root / "x.yaml").read_text()
    with aquila.use_cassette("x"):
        assert by_requests(echoing.url + PATH, {"a": 1})[0] == 401


def test_what_is_ignored_goes_its_own_way(post: Post, echoing: Upstream) -> None:
    with aquila.use_cassette("x") as cassette:
        assert post(echoing.url + "/shop/orders", {"a": 1})[0] == 201
        assert not cassette.misses
    with aquila.use_cassette("x", ignore_hosts="127.0.0.1"):
        assert post(echoing.url + PATH, {"a": 1})[0] == 201
    assert len(echoing.requests) == 2


def test_everything_is_put_back(post: Post, echoing: Upstream) -> None:
    def state() -> list[object]:
        return [
            urllib3.HTTPConnectionPool.urlopen,
            urllib3.HTTPConnectionPool.ConnectionCls,
            urllib3.HTTPConnectionPool.__dict__["_get_conn"],
            urllib3.HTTPSConnectionPool.ConnectionCls,
            urllib3.connection.HTTPConnection,
            httplib2.HTTPConnectionWithTimeout,
            httplib2.Http.request,
            dict(httplib2.SCHEME_TO_CONNECTION),
            aiohttp.ClientSession._request,
            httpx2.HTTPTransport.handle_request,
        ]

    before = state()
    with pytest.raises(CassetteMiss), aquila.use_cassette("x"):
        post(echoing.url + PATH, {})
    assert state() == before
    assert post(echoing.url + PATH, {"a": 1})[0] == 201


def test_a_session_made_before_is_caught_and_works_afterwards(echoing: Upstream) -> None:
    with requests.Session() as session:
        url = echoing.url + PATH
        assert session.post(url, json={"n": 1}, timeout=60).ok
        with aquila.use_cassette("x", transport="record"):
            assert session.post(url, json={"n": 2}, timeout=60).ok
        with aquila.use_cassette("x"):
            assert session.post(url, json={"n": 2}, timeout=60).ok
        assert session.post(url, json={"n": 3}, timeout=60).ok
    assert [json.loads(body)["n"] for _, body in echoing.requests] == [1, 2, 3]


def test_forms_and_files_are_compared_by_their_parts(server: Upstream) -> None:
    server.script = lambda path, body: Answer(chunks=[b"heard"])
    url = server.url + "/v1/audio/transcriptions"

    def send() -> list[bytes]:
        plain = requests.post(url, data={"model": "w"}, timeout=60).content
        parts = requests.post(url, data={"model": "w"}, files={"file": ("a.wav", b"RIFF")}, timeout=60).content

        async def go() -> list[bytes]:
            async with aiohttp.ClientSession() as session:
                async with session.post(url, data={"model": "v"}) as answer:
                    first = await answer.read()
                form = aiohttp.FormData({"model": "v"})
                form.add_field("file", b"RIFF", filename="a.wav")
                async with session.post(url, data=form) as answer:
                    return [first, await answer.read()]

        return [plain, parts, *asyncio.run(go())]

    assert replayed_alike(send) == 4 * [b"heard"]
    assert len(server.requests) == 4


BODIES: dict[str, Callable[[], Any]] = {
    "text": lambda: "tern é",
    "file": lambda: io.BytesIO(b"a tern"),
    "pieces": lambda: iter([b"a ", b"tern"]),
    "bytearray": lambda: bytearray(b"a tern"),
    "memoryview": lambda: memoryview(b"a tern"),
    "array": lambda: array.array("b", b"a tern"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_of_any_kind_goes_out_and_is_compared_as_its_bytes(server: Upstream, kind: str) -> None:
    server.script = lambda path, body: Answer(chunks=[body])

    def post() -> bytes:
        with urllib3.PoolManager() as pool:
            data: bytes = pool.request("POST", server.url + PATH, body=BODIES[kind]()).data
            return data

    assert alike(post) == ("tern é".encode() if kind == "text" else b"a tern")


def test_a_field_that_is_given_twice_is_sent_with_both_values(server: Upstream) -> None:
    address = urlsplit(server.url)
    with aquila.use_cassette("x", transport="record", loopback="all"):
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        with contextlib.closing(connection):
            connection.putrequest("POST", "/v1/messages")
            for name, value in (("x-beta", "one"), ("content-length", "0"), ("X-Beta", "two")):
                connection.putheader(name, value)
            connection.endheaders()
            connection.getresponse().read()
    assert [value for name, value in server.headers[0].items() if name.lower() == "x-beta"] == ["one, two"]


def _send_in_turn(connection: http.client.HTTPConnection, body: Any) -> None:
    connection.putrequest("POST", PATH)
    connection.putheader("content-length", "12")
    connection.endheaders()
    connection.send(body)
    connection.send(body)


SENDING: dict[str, Callable[[http.client.HTTPConnection, Any], None]] = {
    "whole": lambda connection, body: connection.request("POST", PATH, body),
    "in pieces": lambda connection, body: connection.request("POST", PATH, iter([body, body])),
    "in turn": _send_in_turn,
}


@pytest.mark.parametrize("kind", ["bytearray", "memoryview", "array"])
@pytest.mark.parametrize("way", SENDING)
def test_http_client_sends_and_compares_bytes_of_any_kind(server: Upstream, kind: str, way: str) -> None:
    server.script = lambda path, body: Answer(chunks=[body])

    def post() -> bytes:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        with contextlib.closing(connection):
            SENDING[way](connection, BODIES[kind]())
            return connection.getresponse().read()

    alike(post)


TEXTS: dict[str, Callable[[], Any]] = {
    "text": lambda: "tern é",
    "file": lambda: io.TextIOWrapper(io.BytesIO("tern é".encode()), "utf-8"),
    "pieces": lambda: iter(["tern ", "é"]),  # http.client has no coding for those
}


@pytest.mark.parametrize(
    ("client", "kind"), [*product(["http.client"], ["text", "file"]), *product(["urllib3"], TEXTS)]
)
def test_text_goes_out_in_the_coding_of_its_client(server: Upstream, client: str, kind: str) -> None:
    server.script = lambda path, body: Answer(chunks=[body])

    def post(text: Any) -> bytes:
        if client == "urllib3":
            with urllib3.PoolManager() as pool:
                data: bytes = pool.request("POST", server.url + PATH, body=text).data
                return data
        with contextlib.closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection:
            connection.request("POST", PATH, text)
            return connection.getresponse().read()

    live = post(TEXTS[kind]())
    assert live == "tern é".encode("utf-8" if client == "urllib3" else "latin-1")
    with aquila.use_cassette("x", transport="record"):
        assert post(TEXTS[kind]()) == live
        if client == "http.client":
            with pytest.raises(UnicodeEncodeError):
                post("日本")
    with aquila.use_cassette("x") as cassette:
        assert post(TEXTS[kind]()) == live
        assert cassette.all_played


def test_redirects_that_aiohttp_follows_replay(server: Upstream) -> None:
    def script(path: str, body: bytes) -> Answer:
        if path.endswith("/v1/models/old"):
            return Answer(302, headers={"location": "/v1/models/new"}, chunks=[])
        return Answer(chunks=[b"arrived"])

    server.script = script

    async def go() -> bytes:
        async with aiohttp.ClientSession() as session, session.get(server.url + "/v1/models/old") as answer:
            return await answer.read()

    assert replayed_alike(lambda: asyncio.run(go())) == b"arrived"
    assert len(server.requests) == 2


def test_boto3_talks_to_a_model(server: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "an eagle"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
        "metrics": {"latencyMs": 1},
    }
    server.script = lambda path, body: Answer(chunks=[json.dumps(answer).encode()])

    def ask() -> str:
        client = boto3.client(
            "bedrock-runtime",
            region_name="eu-west-1",
            endpoint_url=server.url,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="not-a-real-secret-key",
            config=botocore.config.Config(retries={"max_attempts": 0}),
        )
        message = {"role": "user", "content": [{"text": "What flies?"}]}
        reply = client.converse(modelId="some.model-v1", messages=[message])
        return str(reply["output"]["message"]["content"][0]["text"])

    assert replayed_alike(ask) == "an eagle"
    assert len(server.requests) == 1


def test_recording_from_another_source_than_the_provider(
    post: Post, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    mock = httpx2.MockTransport(lambda request: httpx2.Response(200, text=f"mock {len(request.content) > 0}"))
    name_upstream("mock", mock)
    with aquila.use_cassette("x", transport="record", upstream="mock"):
        assert post("https://api.openai.com/v1/x", {"a": 1}) == (200, b"mock True")
    with aquila.use_cassette("x"):
        assert post("https://api.openai.com/v1/x", {"a": 1}) == (200, b"mock True")
    with aquila.use_cassette("y", transport="mock"):
        assert post("https://api.openai.com/v1/x", {"a": 1}) == (200, b"mock True")


def test_without_vcrpy_a_model_request_names_what_to_install_and_others_pass(
    post: Post, echoing: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    if post is by_aiohttp:
        pytest.skip("aiohttp needs no vcrpy")
    for name in [name for name in sys.modules if name.partition(".")[0] == "vcr"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vcr", None)
    with aquila.use_cassette("x", loopback="all"):
        with pytest.raises(MissingDependency, match=r"pip install 'aquila-llm\[vcr\]'"):
            post(echoing.url + PATH, {"a": 1})
        assert post(echoing.url + "/shop", {"a": 1})[0] == 201
    assert [path for path, _ in echoing.requests] == ["/shop"]


def test_without_vcrpy_a_refusal_names_what_to_install(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naquila_guard = all")
    pytester.makepyfile(
        """
        import sys
        import requests

        def test_it(aquila_cassette, monkeypatch):
            for name in [name for name in sys.modules if name.partition(".")[0] == "vcr"]:
                monkeypatch.delitem(sys.modules, name)
            monkeypatch.setitem(sys.modules, "vcr", None)
            requests.get("http://shop.example/")
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    assert "no cassette can answer its client (urllib3, used by requests)" in output
    assert "pip install 'aquila-llm[vcr]'. If it is another client:" in output
    assert "It uses none of" not in output


def test_a_vcrpy_that_is_too_old_is_named_with_what_installs_another(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["vcr"] == [f"vcrpy>={OLDEST_VCRPY}"]
    monkeypatch.setattr("vcr.__version__", "8.10.1")
    with (
        aquila.use_cassette("x"),
        pytest.raises(
            MissingDependency, match=r"'vcr' in version 9\.4\.2 or newer, and 8\.10\.1 is .*: pip install .*\[vcr\]"
        ),
    ):
        requests.post("https://api.openai.com/v1/chat/completions", json={})


def test_openai_asks_while_the_first_request_of_urllib3_imports_httpx(
    server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    client = openai.OpenAI(api_key="test", base_url=f"{server.url}/v1")

    def import_vcrpy(*, purpose: str) -> None:
        monkeypatch.setitem(sys.modules, "httpx", types.ModuleType("httpx"))  # without its classes: not loaded yet
        create = client.chat.completions.with_raw_response.create
        try:
            asked.append(create(model="m", messages=[{"role": "user", "content": "hi"}]).status_code)
        finally:
            monkeypatch.setitem(sys.modules, "httpx", httpx)

    monkeypatch.setattr(optional, "import_vcrpy", import_vcrpy)
    with client, aquila.use_cassette("x", transport="record"):
        monkeypatch.delitem(sys.modules, "httpx")
        requests.get(f"{server.url}/v1/models", timeout=60)
    assert asked == [200]
    own: Any = httpx.Client()
    with openai.OpenAI(api_key="test", http_client=own) as of_httpx:  # it knows httpx again
        assert of_httpx._client is own
