"""SDK clients that a script answers: through a real client and transport, without a socket.

``ScriptTransport(script)`` is a transport for synchronous and asynchronous clients of httpx2::

    client = OpenAI(api_key="none", max_retries=0, http_client=httpx2.Client(transport=ScriptTransport(script)))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI

from aquila.cassettes.model import RecordedRequest, RecordedResponse
from aquila.scripting.script import Script


class ScriptTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Answers from ``script``, which may be replaced. A request that it does not answer fails the test."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = Script() if script is None else script
        self.asked: list[RecordedRequest] = []
        self.answered: list[RecordedResponse] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._answer(request, request.read())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._answer(request, await request.aread())

    def _answer(self, request: httpx2.Request, body: bytes) -> httpx2.Response:
        headers = tuple((name.lower(), value) for name, value in request.headers.items())
        self.asked.append(RecordedRequest(request.method, str(request.url), headers, body))
        answer = self.script.decide(self.asked[-1])
        if answer is None:
            pytest.fail(f"the script has no answer:\n{self.script.explain(self.script.requests[-1])}")
        self.answered.append(answer.response)
        return httpx2.Response(
            answer.response.status, headers=list(answer.response.headers), stream=_Chunks(answer.response)
        )


class _Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, response: RecordedResponse) -> None:
        self._chunks = response.chunks

    def __iter__(self) -> Iterator[bytes]:
        return (chunk.data for chunk in self._chunks)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk.data


def openai_client(script: Script, *, base_url: str = "https://api.openai.com/v1") -> OpenAI:
    """Return a client of OpenAI's SDK that ``script`` answers."""
    http = httpx2.Client(transport=ScriptTransport(script), trust_env=False)
    return OpenAI(api_key="none", base_url=base_url, max_retries=0, http_client=http)


def async_openai_client(script: Script, *, base_url: str = "https://api.openai.com/v1") -> AsyncOpenAI:
    """Return an asynchronous client of OpenAI's SDK that ``script`` answers."""
    http = httpx2.AsyncClient(transport=ScriptTransport(script), trust_env=False)
    return AsyncOpenAI(api_key="none", base_url=base_url, max_retries=0, http_client=http)
