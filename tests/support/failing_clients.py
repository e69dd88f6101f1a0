"""Clients as programs use them, each with its own way to retry. Each client is one row of ``CLIENTS``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CONNECTING = 60.0
"""Seconds that a client waits for a connection."""
PATIENCE = 60.0
"""Seconds that a client waits for a response. Tests of time limits set less."""

Saw = list[str]
"""What the program saw: the class of the error and its status, or the answer."""


def ask_httpx(url: str, retries: int) -> Saw:
    import httpx

    with httpx.Client(timeout=httpx.Timeout(PATIENCE, connect=CONNECTING)) as client:
        return [str(client.post(f"{url}/chat/completions", json=BODY).status_code)]


def ask_httpx_async(url: str, retries: int) -> Saw:
    import httpx

    async def ask() -> Saw:
        async with httpx.AsyncClient(timeout=httpx.Timeout(PATIENCE, connect=CONNECTING)) as client:
            return [str((await client.post(f"{url}/chat/completions", json=BODY)).status_code)]

    return asyncio.run(ask())


def ask_httpx2(url: str, retries: int) -> Saw:
    import httpx2

    with httpx2.Client(timeout=httpx2.Timeout(PATIENCE, connect=CONNECTING)) as client:
        return [str(client.post(f"{url}/chat/completions", json=BODY).status_code)]


def ask_requests(url: str, retries: int) -> Saw:
    import requests

    return [str(requests.post(f"{url}/chat/completions", json=BODY, timeout=(CONNECTING, PATIENCE)).status_code)]


def ask_requests_with_retry(url: str, retries: int) -> Saw:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    rule = Retry(total=retries, status_forcelist=[429, 500, 503], allowed_methods=None, backoff_factor=0.01)
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=rule))
        return [str(session.post(f"{url}/chat/completions", json=BODY, timeout=(CONNECTING, PATIENCE)).status_code)]


def ask_urllib3(url: str, retries: int) -> Saw:
    import urllib3

    with urllib3.PoolManager() as pool:
        rule = urllib3.Retry(total=retries, status_forcelist=[429, 500, 503], allowed_methods=None)
        limits = urllib3.Timeout(connect=CONNECTING, read=PATIENCE)
        answer = pool.request("POST", f"{url}/chat/completions", json=BODY, timeout=limits, retries=rule)
        return [str(answer.status)]


def ask_aiohttp(url: str, retries: int) -> Saw:
    import aiohttp

    async def ask() -> Saw:
        limit = aiohttp.ClientTimeout(sock_read=PATIENCE, sock_connect=CONNECTING)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(f"{url}/chat/completions", json=BODY) as answer,
        ):
            return [str(answer.status)]

    return asyncio.run(ask())


def _openai_limits() -> Any:
    import openai

    return openai.Timeout(PATIENCE, connect=CONNECTING)


def ask_openai(url: str, retries: int) -> Saw:
    import openai

    with openai.OpenAI(api_key="-", base_url=url, timeout=_openai_limits(), max_retries=retries) as client:
        return [str(client.chat.completions.create(**BODY).choices[0].message.content)]  # type: ignore[call-overload]


def ask_openai_async(url: str, retries: int) -> Saw:
    import openai

    async def ask() -> Saw:
        async with openai.AsyncOpenAI(
            api_key="-", base_url=url, timeout=_openai_limits(), max_retries=retries
        ) as client:
            answer: Any = await client.chat.completions.create(**BODY)  # type: ignore[call-overload]
            return [str(answer.choices[0].message.content)]

    return asyncio.run(ask())


def ask_openai_streamed(url: str, retries: int) -> Saw:
    import openai

    with openai.OpenAI(api_key="-", base_url=url, timeout=_openai_limits(), max_retries=retries) as client:
        create: Any = client.chat.completions.create
        with create(**BODY, stream=True) as stream:
            return [str(len(list(stream)))]


def ask_aquila(url: str, retries: int) -> Saw:
    import aquila

    limits = aquila.Timeouts(connect=CONNECTING, read=PATIENCE, idle=PATIENCE)
    return [aquila.ask("hi", base_url=url, endpoint="chat", timeout=limits, api_key="-", max_retries=retries).text]


def ask_boto3(url: str, retries: int) -> Saw:
    import boto3
    from botocore.config import Config

    limits = Config(
        read_timeout=PATIENCE,
        connect_timeout=CONNECTING,
        retries={"total_max_attempts": retries + 1, "mode": "standard"},
        proxies={},
    )
    keys = {"aws_access_key_id": "-", "aws_secret_access_key": "-", "region_name": "us-east-1"}
    client = boto3.client("bedrock-runtime", endpoint_url=url, config=limits, **keys)
    with contextlib.closing(client):
        answer = client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "hi"}]}])
        return [str(answer["ResponseMetadata"]["HTTPStatusCode"])]


CLIENTS: dict[str, Callable[[str, int], Saw]] = {
    "httpx": ask_httpx,
    "httpx async": ask_httpx_async,
    "httpx2": ask_httpx2,
    "openai": ask_openai,
    "openai async": ask_openai_async,
    "openai streamed": ask_openai_streamed,
    "aquila": ask_aquila,
    "requests": ask_requests,
    "requests with Retry": ask_requests_with_retry,
    "urllib3": ask_urllib3,
    "aiohttp": ask_aiohttp,
    "boto3": ask_boto3,
}
RETRYING = ("openai", "openai async", "openai streamed", "aquila", "requests with Retry", "urllib3", "boto3")
"""The clients that retry by themselves."""


def what_is_seen(client: str, url: str, retries: int) -> Saw:
    """Let a client send a request, with at most ``retries`` retries. Return what the program sees."""
    try:
        return CLIENTS[client](url, retries)
    except Exception as error:  # noqa: BLE001 - the program may see any error
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        return [name, *(f"status {status}" for status in _statuses_of(error))]


def _statuses_of(error: Exception) -> list[int]:
    names = ("status_code", "status")
    return [value for name in names if isinstance(value := getattr(error, name, None), int)][:1]
