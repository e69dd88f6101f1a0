"""The header fields of an answer: a program reads the same in a recording and in its replay, whatever its client."""

from __future__ import annotations

import asyncio
import difflib
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import aiohttp
import httpx
import httpx2
import openai
import pytest
import requests
import urllib3

import aquila
from tests.support.alike import alike
from tests.support.http_server import LoopbackServer
from tests.support.upstream import Answer, Upstream, streamed

PATH = "/v1/chat/completions"
KEPT = {
    "content-type": "application/json",
    "x-goog-upload-url": "https://upload.example/u/1?upload_id=7",
    "x-ratelimit-remaining-requests": "59",
    "x-linked-size": "1234",
    "x-request-id": "req_1, {a}: 'b'",
    "etag": 'W/"0815"',
    "x-of-this-provider": "yes",
    "openai-processing-ms": "12",
}
LEFT_OUT = {
    "set-cookie": "__cf_bm=abc.def",
    "openai-organization": "org-of-somebody",
    "x-forwarded-for": "192.0.2.7",
    "cf-ray": "8e1f0-FRA",
    "strict-transport-security": "max-age=1",
}


def by_httpx2(url: str, method: str = "POST") -> Mapping[str, str]:
    return httpx2.request(method, url).headers


def by_httpx(url: str, method: str = "POST") -> Mapping[str, str]:
    return httpx.request(method, url).headers


def by_requests(url: str, method: str = "POST") -> Mapping[str, str]:
    return requests.request(method, url, timeout=60).headers


def by_urllib3(url: str, method: str = "POST") -> Mapping[str, str]:
    return urllib3.request(method, url, retries=False).headers


def by_aiohttp(url: str, method: str = "POST") -> Mapping[str, str]:
    async def go() -> Mapping[str, str]:
        async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
            assert (await answer.read() == b"") == (method == "HEAD")
            return answer.headers

    return asyncio.run(go())


def by_openai(url: str) -> Mapping[str, str]:
    with openai.OpenAI(base_url=url.removesuffix("/chat/completions"), api_key="not-needed") as client:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": "hi"}])
        return raw.headers


@pytest.mark.parametrize("get", [by_httpx2, by_httpx, by_requests, by_urllib3, by_aiohttp, by_openai])
def test_a_program_reads_the_same_fields_in_a_replay(
    get: Callable[[str], Mapping[str, str]], server: Upstream, root: Path
) -> None:
    server.script = lambda path, body: Answer(headers=KEPT | LEFT_OUT)
    with aquila.use_cassette("x", transport="record"):
        recorded = get(server.url + PATH)
        seen = {name: recorded[name] for name in (*KEPT, *LEFT_OUT, "date")}
    assert seen.items() >= (KEPT | LEFT_OUT).items()
    with aquila.use_cassette("x", transport="replay"):
        replayed = get(server.url + PATH)
    assert {name: replayed[name] for name in (*KEPT, "date")} == KEPT | {"date": seen["date"]}
    assert not [name for name in LEFT_OUT if name in replayed]
    stored = (root / "x.yaml").read_text()
    assert not [value for value in LEFT_OUT.values() if value in stored]


@pytest.mark.parametrize("get", [by_httpx2, by_httpx, by_requests, by_urllib3, by_aiohttp])
def test_a_field_need_not_be_ascii(get: Callable[[str], Mapping[str, str]], server: Upstream, root: Path) -> None:
    server.script = lambda path, body: Answer(headers={"x-served-from": "Orl\u00e9ans"})
    assert alike(lambda: get(server.url + PATH)["x-served-from"]).startswith("Orl")


@pytest.mark.parametrize("name", ["latin-1", "utf-8"])
def test_a_field_of_a_request_need_not_be_ascii(name: str, server: Upstream, root: Path) -> None:
    fields = {"x-title": "Orl\u00e9ans".encode(name)}
    with aquila.use_cassette("x", transport="record"):
        requests.get(server.url + PATH, headers=fields, timeout=60)
    assert server.headers[0]["x-title"].encode("latin-1") == fields["x-title"]


class _Sized(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "123456789")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("ask", [by_httpx2, by_httpx, by_requests, by_urllib3, by_aiohttp])
def test_a_head_request_is_told_the_length_in_a_replay_too(
    ask: Callable[[str, str], Mapping[str, str]], root: Path
) -> None:
    server = LoopbackServer(("127.0.0.1", 0), _Sized)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/file"
    try:
        with aquila.use_cassette("x", transport="record", loopback="all"):
            assert ask(url, "HEAD")["content-length"] == "123456789"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    with aquila.use_cassette("x", transport="replay", loopback="all") as cassette:
        assert ask(url, "HEAD")["content-length"] == "123456789"
        assert cassette.all_played


def test_the_same_stream_recorded_again_changes_one_line(server: Upstream, root: Path) -> None:
    texts = []
    for number in range(2):
        answer = streamed("one two three")
        answer.headers |= {"x-request-id": f"req_{number}", "x-ratelimit-remaining-tokens": f"{100 - number}"}
        answer.headers["openai-processing-ms"] = str(number)
        server.script = lambda path, body, answer=answer: answer  # type: ignore[misc]
        with aquila.use_cassette("x", transport="record", record="all"):
            httpx2.post(server.url + PATH, json={"stream": True})
        texts.append((root / "x.yaml").read_text().splitlines())
    changed = [line.split(":")[0] for line in difflib.ndiff(texts[0], texts[1]) if line[0] in "+-"]
    assert changed == ["-   recorded", "+   recorded"]
