"""Clients as programs use them. Each asks for a URL, and tells all that it sees of the answer, and of the next one."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.intercept.raw_answers.answers import Case

Seen = dict[str, Any]
"""What a program saw: JSON, by names such as ``status``, ``fields``, ``pieces``, ``error``."""

PATIENCE = 60
THEN = "then"
"""The end of the URL of the request that follows on the same client."""


def _text(data: Any) -> str:
    return data.decode("latin-1") if isinstance(data, bytes) else str(data)


def _fields(pairs: Any) -> list[list[str]]:
    return [[_text(name), _text(value)] for name, value in pairs]


def told(error: BaseException) -> str:
    """The class and the text of an error."""
    text = re.sub(r" at 0x[0-9a-f]+", " at 0x", str(error))
    return f"{type(error).__module__}.{type(error).__qualname__}: {text}"


@contextlib.contextmanager
def _noting(seen: Seen, name: str = "error") -> Iterator[None]:
    """An error within is a part of what is seen."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        seen[name] = told(error)


def _see(seen: Seen, name: str, read: Callable[[], Any]) -> None:
    """Note what ``read`` gives, or its error."""
    with _noting(seen, name):
        seen[name] = read()


def _httpx_answer(seen: Seen, answer: Any) -> None:
    seen |= {"status": answer.status_code, "reason": answer.reason_phrase}
    seen["version"] = _text(answer.extensions["http_version"])
    seen["fields"] = _fields(answer.headers.raw)
    seen["history"] = [[each.status_code, _fields(each.headers.raw), _text(each.content)] for each in answer.history]


def _httpx_end(seen: Seen, client: Any, answer: Any, pieces: list[bytes]) -> None:
    seen["pieces"] = [_text(piece) for piece in pieces]
    seen["encoding"] = answer.charset_encoding
    seen["cookies"] = _fields(client.cookies.items())
    _see(seen, "raised for status", lambda: str(answer.raise_for_status()))


def _httpx_sync(library: Any, url: str, row: Case) -> Seen:
    seen: Seen = {}
    with library.Client(follow_redirects=True, timeout=PATIENCE, trust_env=False) as client:
        with _noting(seen), client.stream(row.method, url) as answer:
            _httpx_answer(seen, answer)
            pieces: list[bytes] = []
            try:
                for piece in answer.iter_bytes():
                    pieces.append(piece)
            finally:
                _httpx_end(seen, client, answer, pieces)
        with _noting(seen, THEN):
            answer = client.get(f"{url}/{THEN}")
            seen[THEN] = [answer.status_code, answer.text]
        with _noting(seen, "text"):
            seen["text"] = client.request(row.method, url).text
    return seen


async def _httpx_async(library: Any, url: str, row: Case) -> Seen:
    seen: Seen = {}
    async with library.AsyncClient(follow_redirects=True, timeout=PATIENCE, trust_env=False) as client:
        with _noting(seen):
            async with client.stream(row.method, url) as answer:
                _httpx_answer(seen, answer)
                pieces: list[bytes] = []
                try:
                    async for piece in answer.aiter_bytes():
                        pieces.append(piece)
                finally:
                    _httpx_end(seen, client, answer, pieces)
        with _noting(seen, THEN):
            answer = await client.get(f"{url}/{THEN}")
            seen[THEN] = [answer.status_code, answer.text]
        with _noting(seen, "text"):
            seen["text"] = (await client.request(row.method, url)).text
    return seen


def by_httpx2(url: str, row: Case) -> Seen:
    import httpx2

    return _httpx_sync(httpx2, url, row)


def by_httpx2_async(url: str, row: Case) -> Seen:
    import httpx2

    return asyncio.run(_httpx_async(httpx2, url, row))


def by_httpx(url: str, row: Case) -> Seen:
    import httpx

    return _httpx_sync(httpx, url, row)


def by_httpx_async(url: str, row: Case) -> Seen:
    import httpx

    return asyncio.run(_httpx_async(httpx, url, row))


def by_requests(url: str, row: Case) -> Seen:
    import requests

    seen: Seen = {}
    with requests.Session() as session:
        session.trust_env = False
        with _noting(seen), session.request(row.method, url, stream=True, timeout=PATIENCE) as answer:
            seen |= {"status": answer.status_code, "reason": answer.reason, "version": answer.raw.version}
            seen["fields"] = _fields(answer.raw.headers.items())
            seen["history"] = [
                [each.status_code, each.reason, _fields(each.raw.headers.items())] for each in answer.history
            ]
            seen |= {"encoding": answer.encoding, "cookies": _fields(session.cookies.items())}
            _see(seen, "raised for status", lambda: str(answer.raise_for_status()))
            pieces = seen["pieces"] = []
            pieces.extend(map(_text, answer.iter_content(None)))
        with _noting(seen, THEN):
            answer = session.get(f"{url}/{THEN}", timeout=PATIENCE)
            seen[THEN] = [answer.status_code, answer.text]
        with _noting(seen, "text"):
            seen["text"] = session.request(row.method, url, timeout=PATIENCE).text
    return seen


def by_urllib3(url: str, row: Case) -> Seen:
    import urllib3

    seen: Seen = {}
    with urllib3.PoolManager(timeout=PATIENCE, retries=urllib3.Retry(2, backoff_factor=0, connect=0, read=0)) as pool:
        with _noting(seen):
            answer: Any = pool.request(row.method, url, preload_content=False)
            seen |= {"status": answer.status, "reason": answer.reason, "version": answer.version}
            seen["version_string"] = getattr(answer, "version_string", "")
            seen |= {"fields": _fields(answer.headers.items()), "url": answer.geturl()}
            seen["history"] = [[each.status, each.redirect_location] for each in answer.retries.history]
            pieces = seen["pieces"] = []
            try:
                for piece in answer.stream(decode_content=True):
                    pieces.append(_text(piece))
            finally:
                answer.release_conn()
        with _noting(seen, THEN):
            answer = pool.request("GET", f"{url}/{THEN}")
            seen[THEN] = [answer.status, _text(answer.data)]
        with _noting(seen, "text"):
            seen["text"] = _text(pool.request(row.method, url, retries=False).data)
    return seen


def by_http_client(url: str, row: Case) -> Seen:
    seen: Seen = {}
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        with _noting(seen):
            connection.request(row.method, parts.path)
            answer = connection.getresponse()
            seen |= {"status": answer.status, "reason": answer.reason, "version": answer.version}
            seen |= {"fields": _fields(answer.getheaders()), "length": answer.length, "closes": answer.will_close}
            pieces = seen["pieces"] = []
            while piece := answer.read1(65536):
                pieces.append(_text(piece))
            answer.read()
        with _noting(seen, THEN):
            connection.request("GET", f"{parts.path}/{THEN}")
            answer = connection.getresponse()
            seen[THEN] = [answer.status, _text(answer.read())]
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    with contextlib.closing(connection), _noting(seen, "text"):
        connection.request(row.method, parts.path)
        seen["text"] = _text(connection.getresponse().read())
    return seen


def by_urllib(url: str, row: Case) -> Seen:
    seen: Seen = {}
    request = urllib.request.Request(url, method=row.method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with _noting(seen):
        try:
            answer = opener.open(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            seen["error"], answer = told(error), error
        with answer:
            seen |= {"status": answer.status, "reason": answer.reason, "url": answer.geturl()}
            seen["fields"] = _fields(answer.headers.items())
            seen["text"] = _text(answer.read())
    return seen


def by_httplib2(url: str, row: Case) -> Seen:
    import httplib2

    seen: Seen = {}
    with contextlib.closing(httplib2.Http(timeout=PATIENCE, proxy_info=None)) as client:
        with _noting(seen):
            answer, content = client.request(url, row.method)
            seen |= {"status": answer.status, "reason": answer.reason, "version": answer.version}
            seen |= {"fields": sorted(_fields(answer.items())), "text": _text(content)}
        with _noting(seen, THEN):
            answer, content = client.request(f"{url}/{THEN}")
            seen[THEN] = [answer.status, _text(content)]
    return seen


def by_aiohttp(url: str, row: Case) -> Seen:
    return asyncio.run(_aiohttp(url, row))


async def _aiohttp(url: str, row: Case) -> Seen:
    import aiohttp

    seen: Seen = {}
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(PATIENCE), cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as session:
        with _noting(seen):
            async with session.request(row.method, url) as answer:
                seen |= {"status": answer.status, "reason": answer.reason, "version": str(answer.version)}
                seen |= {"fields": _fields(answer.raw_headers), "url": str(answer.url)}
                seen["read fields"] = _fields(answer.headers.items())
                seen["history"] = [[each.status, each.reason, _fields(each.raw_headers)] for each in answer.history]
                seen["cookies"] = [[each.key, each.value] for each in session.cookie_jar]
                seen["its cookies"] = [[each.key, each.value] for each in answer.cookies.values()]
                _see(seen, "charset", answer.get_encoding)
                _see(seen, "raised for status", lambda: str(_raise_without_release(answer)))
                pieces = seen["pieces"] = []
                while not answer.content.at_eof():  # `iter_chunks` never ends where there is no body
                    piece, _ = await answer.content.readchunk()
                    if piece:
                        pieces.append(_text(piece))
        with _noting(seen, THEN):
            async with session.get(f"{url}/{THEN}") as answer:
                seen[THEN] = [answer.status, await answer.text()]
        with _noting(seen, "text"):
            async with session.request(row.method, url) as answer:
                seen["text"] = await answer.text()
    return seen


def _raise_without_release(answer: Any) -> None:
    if answer.status >= 400:
        import aiohttp

        raise aiohttp.ClientResponseError(
            answer.request_info, answer.history, status=answer.status, message=answer.reason, headers=answer.headers
        )


BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def _openai_options(url: str, row: Case) -> dict[str, Any]:
    return {"base_url": f"{url}/v1", "api_key": "not-needed", "max_retries": row.attempts - 1, "timeout": PATIENCE}


def by_openai(url: str, row: Case) -> Seen:
    import openai

    seen: Seen = {}
    with openai.OpenAI(**_openai_options(url, row)) as client:
        with _noting(seen):
            raw = client.chat.completions.with_raw_response.create(**BODY)
            seen |= {"status": raw.status_code, "fields": _fields(raw.headers.raw)}
            seen["text"] = raw.text
            seen["parsed"] = repr(raw.parse())
        with _noting(seen, "stream error"), client.chat.completions.create(**BODY, stream=True) as stream:
            events = seen["events"] = []
            for event in stream:
                events.append(repr(event))
    return seen


def by_openai_async(url: str, row: Case) -> Seen:
    return asyncio.run(_openai_async(url, row))


async def _openai_async(url: str, row: Case) -> Seen:
    import openai

    seen: Seen = {}
    async with openai.AsyncOpenAI(**_openai_options(url, row)) as client:
        with _noting(seen):
            raw: Any = await client.chat.completions.with_raw_response.create(**BODY)
            seen |= {"status": raw.status_code, "fields": _fields(raw.headers.raw)}
            seen["text"] = raw.text
            seen["parsed"] = repr(raw.parse())
        with _noting(seen, "stream error"):
            async with await client.chat.completions.create(**BODY, stream=True) as stream:
                events = seen["events"] = []
                async for event in stream:
                    events.append(repr(event))
    return seen


def by_boto3(url: str, row: Case) -> Seen:
    import boto3
    from botocore.config import Config

    seen: Seen = {}
    limits = Config(read_timeout=PATIENCE, retries={"total_max_attempts": 1}, proxies={})
    keys = {"aws_access_key_id": "-", "aws_secret_access_key": "-", "region_name": "us-east-1"}
    with (
        contextlib.closing(boto3.client("bedrock-runtime", endpoint_url=url, config=limits, **keys)) as client,
        _noting(seen),
    ):
        answer = client.invoke_model_with_response_stream(modelId="m", body=b"{}")
        seen["status"] = answer["ResponseMetadata"]["HTTPStatusCode"]
        seen["fields"] = sorted(_fields(answer["ResponseMetadata"]["HTTPHeaders"].items()))
        events = seen["events"] = []
        for event in answer["body"]:
            events.append(repr(event))
    return seen


POSTING = ("openai", "openai async", "boto3")
"""Clients that send no other method, and so no HEAD."""

CLIENTS: dict[str, Callable[[str, Case], Seen]] = {
    "httpx2": by_httpx2,
    "httpx2 async": by_httpx2_async,
    "httpx": by_httpx,
    "httpx async": by_httpx_async,
    "requests": by_requests,
    "urllib3": by_urllib3,
    "http.client": by_http_client,
    "urllib.request": by_urllib,
    "httplib2": by_httplib2,
    "aiohttp": by_aiohttp,
    "openai": by_openai,
    "openai async": by_openai_async,
    "boto3": by_boto3,
}
