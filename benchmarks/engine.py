"""The time of the engine over that of the bare openai SDK for the same stream, and its memory.

Both get their response from an in-memory mock transport, so only the SDK and the engine take time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import openai

import aquila
from benchmarks import traffic
from benchmarks.harness import QUICK, Report, in_process, main, paired, size

SHORT, LONG = 3, 2000
STREAMED = (1_000, 10_000) if QUICK else (1_000, 10_000, 100_000)  # chunks, where memory is measured
HEADERS = {"content-type": "text/event-stream"}
PROMPT = traffic.prompt(0)
FOR_SDK: dict[str, Any] = {"messages": PROMPT, "stream_options": {"include_usage": True}}
ASKED: dict[str, Any] = {"model": "gpt-4.1-mini", "temperature": 0.2}


class _Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def mock(count: int) -> httpx2.MockTransport:
    """A transport that answers with a stream of ``count`` chunks."""
    chunks = traffic.stream_events(count)
    return httpx2.MockTransport(lambda request: httpx2.Response(200, headers=HEADERS, stream=_Stream(chunks)))


def bare(count: int) -> Callable[[], None]:
    """The SDK, iterated as its documentation shows."""
    client = openai.OpenAI(api_key="no-key", http_client=httpx2.Client(transport=mock(count)), max_retries=0)

    def run() -> None:
        stream = client.chat.completions.create(stream=True, **FOR_SDK, **ASKED)
        text = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert len("".join(text)) > 1

    return run


def engine(count: int) -> Callable[[], None]:
    """``aquila.stream``, iterated."""
    transport = mock(count)

    def run() -> None:
        text = [e.text for e in aquila.stream(PROMPT, transport=transport, **ASKED) if isinstance(e, aquila.Chunk)]
        assert len("".join(text)) > 1

    return run


def bare_async(count: int) -> Callable[[], None]:
    """The SDK's asynchronous client, ten streams in one event loop."""
    transport = mock(count)

    async def run() -> None:
        async with httpx2.AsyncClient(transport=transport) as http:
            client = openai.AsyncOpenAI(api_key="no-key", http_client=http, max_retries=0)
            for _ in range(10):
                stream = await client.chat.completions.create(stream=True, **FOR_SDK, **ASKED)
                text = [chunk.choices[0].delta.content or "" async for chunk in stream]
                assert len("".join(text)) > 1

    return lambda: asyncio.run(run())


def engine_async(count: int) -> Callable[[], None]:
    """``aquila.astream``, ten streams in one event loop."""
    transport = mock(count)

    async def run() -> None:
        for _ in range(10):
            async with aquila.astream(PROMPT, transport=transport, **ASKED) as stream:
                text = [event.text async for event in stream if isinstance(event, aquila.Chunk)]
            assert len("".join(text)) > 1

    return lambda: asyncio.run(run())


MEMORY = """
import gc, json, sys, tracemalloc
import aquila, httpx2
from benchmarks import traffic

count = int(sys.argv[1])
first, piece, *_ = traffic.stream_events(4)
last = traffic.stream_events(4)[-2:]

class Endless(httpx2.SyncByteStream):
    def __iter__(self):
        yield first
        for _ in range(count):
            yield piece
        yield from last

answer = lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Endless())
transport = httpx2.MockTransport(answer)
aquila.ask("warm", transport=httpx2.MockTransport(lambda r: httpx2.Response(
    200, headers={"content-type": "text/event-stream"}, content=b"".join([first, piece, *last]))))
gc.collect()
tracemalloc.start()
stream = aquila.stream("Hi", transport=transport)
seen = sum(1 for _ in stream)
_, peak = tracemalloc.get_traced_memory()
print(json.dumps({"seen": seen, "peak": peak, "text": len(stream.response.text)}))
"""


def run(report: Report) -> None:
    """Compare, and report."""
    times = paired({"openai SDK": bare(LONG), "aquila": engine(LONG)}, rounds=21)
    report.table(f"A stream of {LONG} chunks", times, base="openai SDK")
    report.aim("a chunk", times.ratio("aquila", "openai SDK"), at_most=1.15, unit="x")
    each = times.difference("aquila", "openai SDK") / LONG
    report.note(f"The engine adds {each * 1e6:.1f} µs to a chunk.")

    times = paired({"openai SDK": bare(SHORT), "aquila": engine(SHORT)}, rounds=31, number=20)
    report.table(f"A call whose answer has {SHORT} chunks", times, base="openai SDK")
    report.aim("a call", times.ratio("aquila", "openai SDK"), at_most=1.15, unit="x")

    times = paired({"openai SDK": bare_async(200), "aquila": engine_async(200)}, rounds=21)
    report.table("Ten asynchronous streams of 200 chunks", times, base="openai SDK")
    report.aim("an asynchronous chunk", times.ratio("aquila", "openai SDK"), at_most=1.15, unit="x")

    report.heading("Memory of a stream whose events are not kept")
    measured: dict[int, Any] = {count: in_process(MEMORY, str(count)) for count in STREAMED}
    rows = [
        (f"{count:,} chunks", size(one["peak"]), size(one["text"]), size(one["peak"] - one["text"]))
        for count, one in measured.items()
    ]
    report.rows(("", "peak", "of which the text", "rest"), rows)
    # The text grows in a buffer that is copied once at the end. So it may take up to three times its size.
    longest = STREAMED[-1]
    beyond = measured[longest]["peak"] - 3 * measured[longest]["text"]
    report.aim(f"memory beside the text of {longest:,} chunks", beyond / 1e6, at_most=1.0, unit="MB")


if __name__ == "__main__":
    main(run)
