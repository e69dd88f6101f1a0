"""Compressed answers: recorded readable, and seen by a program as if nothing recorded or replayed them."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import aiohttp
import brotli
import httplib2
import httpx
import httpx2
import pytest
import requests
import urllib3

from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.alike import alike
from tests.support.compression import zstd
from tests.support.slow import product_of
from tests.support.upstream import Answer, Upstream

PATH = "/v1/chat/completions"
TEXT = b'{"text": "' + b"an eagle " * 3000 + b'"}'

BODIES: dict[str, tuple[str, bytes]] = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "br": ("br", brotli.compress(TEXT)),
    "zstd": ("zstd", zstd.compress(TEXT)),
    "gzip under br": ("gzip, br", brotli.compress(gzip.compress(TEXT))),
    "br under gzip": ("br, gzip", gzip.compress(brotli.compress(TEXT))),
    # In the seventh place, because so the fast tests try it with httplib2, which has an error of its own for it.
    "no gzip": ("gzip", TEXT),
    "unknown": ("x-secret", b"\x00\x01" + TEXT[::-1]),
    "damaged gzip": ("gzip", gzip.compress(TEXT)[:40] + b"\xff" * 40),
    "identity": ("identity", TEXT),
    "damaged br": ("br", brotli.compress(TEXT)[:10] + b"\xff" * 40),
    "damaged zstd": ("zstd", b"(\xb5/\xfd" + b"\xff" * 40),
    "cut gzip": ("gzip", gzip.compress(TEXT)[:-20]),
    "damaged stack": ("gzip, br", brotli.compress(b"no gzip")),
}
READABLE = ("gzip", "deflate", "br", "zstd", "gzip under br", "br under gzip", "identity")

Get = Callable[[str], tuple[int, bytes]]


def by_httpx2(url: str) -> tuple[int, bytes]:
    with httpx2.Client() as client:
        answer = client.post(url)
        return answer.status_code, answer.content


def by_httpx2_async(url: str) -> tuple[int, bytes]:
    async def go() -> tuple[int, bytes]:
        async with httpx2.AsyncClient() as client, client.stream("POST", url) as answer:
            return answer.status_code, b"".join([piece async for piece in answer.aiter_bytes()])

    return asyncio.run(go())


def by_httpx(url: str) -> tuple[int, bytes]:
    with httpx.Client() as client, client.stream("POST", url) as answer:
        return answer.status_code, b"".join(answer.iter_bytes())


def by_httpx_async(url: str) -> tuple[int, bytes]:
    async def go() -> tuple[int, bytes]:
        async with httpx.AsyncClient() as client:
            answer = await client.post(url)
            return answer.status_code, answer.content

    return asyncio.run(go())


def by_requests(url: str) -> tuple[int, bytes]:
    answer = requests.post(url, timeout=60)
    return answer.status_code, answer.content


def by_requests_piecewise(url: str) -> tuple[int, bytes]:
    with requests.post(url, stream=True, timeout=60) as answer:
        return answer.status_code, b"".join(answer.iter_content(100))


def by_urllib3(url: str) -> tuple[int, bytes]:
    answer = urllib3.request("POST", url, retries=False)
    return answer.status, answer.data


def by_httplib2(url: str) -> tuple[int, bytes]:
    answer, content = httplib2.Http(timeout=60).request(url, "POST")
    return int(answer.status), content


def by_aiohttp(url: str) -> tuple[int, bytes]:
    async def go() -> tuple[int, bytes]:
        async with aiohttp.ClientSession() as session, session.post(url) as answer:
            return answer.status, await answer.read()

    return asyncio.run(go())


WAYS: list[Get] = [
    by_aiohttp,
    by_httpx2,
    by_httpx2_async,
    by_httpx,
    by_httpx_async,
    by_requests,
    by_requests_piecewise,
    by_urllib3,
    by_httplib2,
]
KNOWN_TO_HTTPLIB2 = ("gzip", "deflate", "identity", "unknown", "damaged gzip", "no gzip", "cut gzip")


def outcome(get: Get, url: str) -> tuple[int, bytes] | type[Exception]:
    """What a program sees: the answer, or the class of the client's error."""
    try:
        return get(url)
    except Exception as error:  # noqa: BLE001 - whatever the client raises is compared
        return type(error)


def is_known(get: Get, name: str) -> bool:
    """Whether a client undoes such a body: httplib2 accepts few codings, and aiohttp undoes one alone."""
    if get is by_aiohttp:
        return "," not in BODIES[name][0]
    return get is not by_httplib2 or name in KNOWN_TO_HTTPLIB2


@pytest.mark.parametrize(
    ("get", "name"),
    [row for row in product_of(WAYS, BODIES, fast=7) if is_known(*row.values)],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_coded_answer_is_seen_alike_without_aquila_when_recorded_and_when_replayed(
    get: Get, name: str, server: Upstream, root: Path
) -> None:
    encoding, coded = BODIES[name]
    headers = {"content-type": "application/json", "content-encoding": encoding}
    server.script = lambda path, body: Answer(headers=headers, chunks=[coded[:7], coded[7:30], coded[30:]])
    plain = alike(lambda: outcome(get, server.url + PATH))
    (stored,) = load_cassette(root / "x.yaml").interactions
    if name in READABLE:
        assert plain == (200, TEXT)
        assert stored.response.body == TEXT
        assert stored.response.first_header("content-encoding") in ("", "identity")
    if name == "unknown":
        assert stored.response.body == coded
        assert stored.response.first_header("content-encoding") == encoding
