"""The life of a stream: read once, closed early, waited for, too slow."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from pathlib import Path

import pytest

import aquila
from aquila.errors import SessionClosed, StreamClosed, StreamConsumed, StreamError, StreamTimeout
from aquila.events import Chunk, Done, Event
from tests.support.engines import KEY, Engine, cancel_while_reading, live
from tests.support.provider import chat_calls, chat_chunk, chat_stream, tool_fragment
from tests.support.runs import separate_run
from tests.support.server import Answer, cut, serving, sse

FIRST = sse(chat_chunk("first"), done=False)


def test_events_arrive_while_the_provider_is_still_answering() -> None:
    rest = threading.Event()
    with serving(Answer([FIRST, rest, chat_stream("second")])) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url}))
        events = iter(stream)
        assert next(events) == Chunk("first")
        rest.set()
        assert [event for event in events if isinstance(event, Chunk)] == [Chunk("second")]
        assert stream.response.text == "firstsecond"


def test_response_is_there_after_the_last_event_and_not_before() -> None:
    with serving(chat_stream("ok")) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url}))
        with pytest.raises(StreamError, match="not complete"):
            _ = stream.response
        assert isinstance(list(stream)[-1], Done)
        assert stream.response.text == "ok"
        assert stream.result().text == "ok"


def test_every_stream_has_a_ref_of_its_own() -> None:
    streams = [aquila.stream("Hi", **live({})) for _ in range(50)]
    assert len({stream.ref for stream in streams}) == 50


def test_second_iteration_is_refused() -> None:
    with serving(chat_stream("ok"), chat_stream("ok")) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url}))
        list(stream)
        with pytest.raises(StreamConsumed, match=rf"{stream.ref} can be read once.*make a new one"):
            list(stream)
        with aquila.stream("Hi", **live({"base_url": server.url})) as other:
            for _ in other:
                with pytest.raises(StreamConsumed):
                    iter(other)
                break


def test_second_asynchronous_iteration_is_refused() -> None:
    async def scenario(url: str) -> None:
        stream = aquila.astream("Hi", **live({"base_url": url}))
        assert [event async for event in stream]
        with pytest.raises(StreamConsumed):
            [event async for event in stream]
        assert (await stream.result()).text == "ok"

    with serving(chat_stream("ok")) as server:
        asyncio.run(scenario(server.url))


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_result_in_another_thread_is_refused_while_the_stream_is_read(timeout: float | None) -> None:
    asked, rest = threading.Event(), threading.Event()

    def answer(seen: object) -> Answer:
        asked.set()
        return Answer([rest, chat_stream("ok")])

    with serving(by=answer) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url}))
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        assert asked.wait(60)
        with pytest.raises(StreamConsumed, match=rf"{stream.ref} is being read by another thread or task"):
            stream.result(timeout)
        rest.set()
        reader.join()
    assert stream.result(timeout).text == "ok"


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_result_in_another_task_is_refused_while_the_stream_is_read(timeout: float | None) -> None:
    async def scenario(url: str) -> str:
        stream = aquila.astream("Hi", **live({"base_url": url}))
        first, second = await asyncio.gather(stream.result(), stream.result(timeout), return_exceptions=True)
        assert isinstance(second, StreamConsumed)
        assert first == stream.response
        return stream.response.text

    with serving(chat_stream("ok")) as server:
        assert asyncio.run(scenario(server.url)) == "ok"


def test_iterating_on_after_a_result_was_awaited_is_refused() -> None:
    async def scenario(url: str) -> None:
        async with aquila.astream("Hi", **live({"base_url": url})) as stream:
            events = aiter(stream)
            await anext(events)
            with pytest.raises(StreamTimeout):
                await stream.result(timeout=0.01)
            with pytest.raises(StreamConsumed, match="is being read"):
                await anext(events)

    with serving(Answer([FIRST, threading.Event()])) as server:
        asyncio.run(scenario(server.url))


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_outlives_its_cassette_sends_nothing_live(is_async: bool, tmp_path: Path) -> None:
    async def result_of(stream: aquila.AsyncStream) -> None:
        await stream.result()

    options = {"base_url": "", "api_key": KEY}
    with separate_run(tmp_path), serving(chat_stream("ok"), chat_stream("ok")) as server:
        options["base_url"] = server.url
        with aquila.use_cassette("talk", transport="record"):
            aquila.ask("Hi", **options)
        with aquila.use_cassette("talk", transport="replay"):
            stream = aquila.astream("Hi", **options) if is_async else aquila.stream("Hi", **options)
        with pytest.raises(SessionClosed, match="has ended"):
            asyncio.run(result_of(stream)) if isinstance(stream, aquila.AsyncStream) else stream.result()
        assert len(server.seen) == 1


def test_a_tool_that_runs_beside_another_can_close_its_stream() -> None:
    def stop() -> None:
        made.wait(60)
        stream.close()

    made = threading.Event()
    with serving(chat_calls(tool_fragment(0, "{}", "a", "stop"), tool_fragment(1, "{}", "b", "stop"))) as server:
        options = live(
            {"base_url": server.url, "tools": [stop], "concurrent_tools": True, "sink": aquila.Sink.ignore()}
        )
        stream = aquila.stream("Hi", **options)
        made.set()
        with pytest.raises(StreamClosed):
            stream.result(timeout=60)


def test_a_stream_is_closed_while_its_thread_is_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start_late(thread: threading.Thread) -> None:
        if stream.ref in thread.name:
            stream.close()
        start(thread)

    start = threading.Thread.start
    stream = aquila.stream("Hi", **live({}))
    monkeypatch.setattr(threading.Thread, "start", start_late)
    with pytest.raises(StreamClosed):
        stream.result(timeout=60)


def test_use_after_close_is_refused() -> None:
    stream = aquila.stream("Hi", **live({}))
    stream.close()
    stream.close()
    for use in (lambda: list(stream), stream.result, lambda: stream.response):
        with pytest.raises(StreamClosed, match="closed"):
            use()


def test_asynchronous_use_after_close_is_refused() -> None:
    async def scenario() -> None:
        stream = aquila.astream("Hi", **live({}))
        await stream.aclose()
        with pytest.raises(StreamClosed):
            [event async for event in stream]
        with pytest.raises(StreamClosed):
            await stream.result()

    asyncio.run(scenario())


def test_leaving_the_block_early_closes_the_connection() -> None:
    with serving(Answer([FIRST, threading.Event()])) as server:
        with aquila.stream("Hi", **live({"base_url": server.url})) as stream:
            for _ in stream:
                break
        assert server.left.wait(60)
        with pytest.raises(StreamClosed, match="closed before its end"):
            _ = stream.response


def test_leaving_the_asynchronous_block_early_closes_the_connection() -> None:
    async def scenario(url: str) -> None:
        async with aquila.astream("Hi", **live({"base_url": url})) as stream:
            async for _ in stream:
                break

    with serving(Answer([FIRST, threading.Event()])) as server:
        asyncio.run(scenario(server.url))
        assert server.left.wait(60)


def test_a_stream_whose_iterator_was_closed_is_closed_with_its_block() -> None:
    async def scenario(url: str, left: threading.Event) -> None:
        async with aquila.astream("Hi", **live({"base_url": url})) as stream:
            events = aiter(stream)
            await anext(events)
            await events.aclose()  # as the garbage collector does, once the loop runs on
        assert await asyncio.to_thread(left.wait, 60)

    with serving(Answer([FIRST, threading.Event()])) as server:
        asyncio.run(scenario(server.url, server.left))


def test_the_result_is_complete_after_its_iterator_was_closed() -> None:
    async def scenario(url: str) -> str:
        async with aquila.astream("Hi", **live({"base_url": url})) as stream:
            events = aiter(stream)
            await anext(events)
            await events.aclose()
            return (await stream.result()).text

    with serving(chat_stream("one ", "two")) as server:
        assert asyncio.run(scenario(server.url)) == "one two"


def test_a_stream_whose_reader_was_cancelled_says_that_it_is_closed() -> None:
    async def scenario(url: str) -> aquila.AsyncStream:
        stream = aquila.astream("Hi", **live({"base_url": url}))
        events = aiter(stream)
        await anext(events)
        reading = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(StreamClosed, match="closed before its end"):
            await stream.result()
        return stream

    with serving(Answer([FIRST, threading.Event()])) as server:
        assert repr(asyncio.run(scenario(server.url))).endswith("closed>")
        assert server.left.wait(60)


def test_closing_a_stream_raises_what_storing_its_recording_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise ValueError("a codec that fails")

    with separate_run(tmp_path), serving(chat_stream("one ", "two")) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url, "cassette": "x", "transport": "record"}))
        next(iter(stream))
        with monkeypatch.context() as patched:
            patched.setattr(stream._call.route, "close", fail)
            with pytest.raises(ValueError, match="a codec that fails"):
                stream.close()
        stream._call.route.close()


def test_cancelling_the_task_closes_the_connection() -> None:
    with serving(Answer([FIRST, threading.Event()])) as server:
        asyncio.run(cancel_while_reading(**live({"base_url": server.url})))
        assert server.left.wait(60)


def test_result_after_some_events_drops_the_rest_and_is_complete(engine: Engine) -> None:
    with serving(chat_stream("a", "b", "c")) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url}))
        assert next(iter(stream)) == Chunk("a")
        assert stream.result().text == "abc"


def test_the_stream_can_be_awaited_again_after_a_time_limit() -> None:
    rest = threading.Event()
    with serving(Answer([FIRST, rest, chat_stream("!")])) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url}))
        with pytest.raises(StreamTimeout, match=r"no result within 0.05 s"):
            stream.result(timeout=0.05)
        rest.set()
        assert stream.result(timeout=60).text == "first!"


def test_the_asynchronous_stream_can_be_awaited_again_after_a_time_limit() -> None:
    async def scenario(url: str) -> str:
        stream = aquila.astream("Hi", **live({"base_url": url}))
        with pytest.raises(StreamTimeout):
            await stream.result(timeout=0.05)
        rest.set()
        return (await stream.result(timeout=60)).text

    rest = threading.Event()
    with serving(Answer([FIRST, rest, chat_stream("!")])) as server:
        assert asyncio.run(scenario(server.url)) == "first!"


def test_silence_longer_than_the_idle_timeout_ends_the_stream(engine: Engine) -> None:
    """The read timeout holds until the answer begins, and the idle timeout from then on."""
    with (
        serving(Answer([FIRST, threading.Event()])) as server,
        pytest.raises(StreamTimeout, match=r"idle: nothing arrived from 127.0.0.1:\d+ for 0.1 s"),
    ):
        engine.events("Hi", base_url=server.url, timeout=aquila.Timeouts(read=60, idle=0.1))


def test_silence_before_the_answer_is_limited_too_and_is_not_retried(engine: Engine) -> None:
    def silent(seen: object) -> Answer:
        asked.set()
        waited.wait(60)
        return Answer()

    asked, waited = threading.Event(), threading.Event()
    with serving(by=silent) as server:
        with pytest.raises(TimeoutError, match=r"did not begin to answer within 0\.1 s"):
            engine.ask("Hi", base_url=server.url, timeout=aquila.Timeouts(connect=60, idle=0.1))
        assert asked.wait(60)
        waited.set()
    assert len(server.seen) == 1


def test_idle_timeout_is_half_a_minute_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2

    limits: list[dict[str, float]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        limits.append(request.extensions["timeout"])
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=chat_stream("ok"))

    transport = httpx2.MockTransport(answer)
    aquila.ask("Hi", transport=transport)
    monkeypatch.setenv("AQUILA_TIMEOUT", "7")
    aquila.ask("Hi", transport=transport)
    aquila.ask("Hi", transport=transport, timeout=5)
    aquila.ask("Hi", transport=transport, timeout=aquila.Timeouts(connect=1, idle=2, read=3))
    assert [limit["read"] for limit in limits] == [30, 7, 5, 2]  # the last: read became idle once the answer began
    assert limits[3]["connect"] == 1


def test_push_mode_runs_on_a_thread_with_the_context_of_the_caller() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("the caller's")
    seen: list[tuple[str, int]] = []

    def note(event: Event) -> None:
        seen.append((variable.get(), threading.get_ident()))

    with serving(chat_stream("a")) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url, "sink": aquila.Sink.callback(note)}))
        assert stream.result(timeout=60).text == "a"
    assert {value for value, _ in seen} == {"the caller's"}
    assert threading.get_ident() not in {thread for _, thread in seen}


def test_pushed_stream_cannot_be_iterated() -> None:
    with serving(chat_stream("a")) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url, "sink": aquila.Sink.ignore()}))
        with pytest.raises(StreamConsumed, match="its events go to its sink"):
            list(stream)
        stream.result(timeout=60)


def test_closing_a_pushed_stream_ends_it_though_the_provider_is_silent() -> None:
    events: queue.Queue[Event] = queue.Queue()
    with serving(Answer([FIRST, threading.Event()])) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url, "sink": aquila.Sink.queue(events)}))
        assert events.get(timeout=60) == Chunk("first")
        stream.close()
        assert server.left.wait(60)
        with pytest.raises(StreamClosed):
            stream.result()


def test_closing_an_asynchronous_pushed_stream_ends_it() -> None:
    async def scenario(url: str) -> None:
        events: asyncio.Queue[Event] = asyncio.Queue()
        stream = aquila.astream("Hi", **live({"base_url": url, "sink": aquila.Sink.queue(events)}))
        assert await events.get() == Chunk("first")
        await stream.aclose()
        with pytest.raises(StreamClosed):
            await stream.result()

    with serving(Answer([FIRST, threading.Event()])) as server:
        asyncio.run(scenario(server.url))
        assert server.left.wait(60)


def test_sink_may_close_its_own_stream() -> None:
    started = threading.Event()

    def stop(event: Event) -> None:
        started.wait(60)
        stream.close()

    with serving(Answer([*cut(chat_stream("a", "b")), threading.Event()])) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url, "sink": aquila.Sink.callback(stop)}))
        started.set()
        with pytest.raises(StreamClosed):
            stream.result(timeout=60)
        assert server.left.wait(60)


def test_closing_a_stream_ends_the_iteration_in_another_thread() -> None:
    arrived, ended = threading.Event(), []

    def read() -> None:
        try:
            for _ in stream:
                arrived.set()
        except StreamClosed as error:
            ended.append(error)

    with serving(Answer([FIRST, threading.Event()])) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url}))
        reader = threading.Thread(target=read)
        reader.start()
        assert arrived.wait(60)
        stream.close()
        reader.join(60)
        assert len(ended) == 1
        assert server.left.wait(60)


def test_closing_an_asynchronous_stream_ends_the_iteration_in_another_task() -> None:
    async def scenario(url: str) -> None:
        arrived = asyncio.Event()
        stream = aquila.astream("Hi", **live({"base_url": url}))

        async def read() -> str:
            try:
                async for _ in stream:
                    arrived.set()
            except StreamClosed:
                await asyncio.sleep(0)  # the task itself was not cancelled
                return "closed"
            return "complete"

        reader = asyncio.create_task(read())
        await arrived.wait()
        await asyncio.sleep(0)  # the reader waits for the next event now
        await asyncio.gather(stream.aclose(), stream.aclose())
        assert not stream._is_being_read  # its connection is closed already
        assert await asyncio.wait_for(reader, 60) == "closed"
        assert not reader.cancelling()

    with serving(Answer([FIRST, threading.Event()])) as server:
        asyncio.run(scenario(server.url))
        assert server.left.wait(60)
