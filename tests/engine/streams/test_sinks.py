"""Sinks: which events they get, what happens when one fails, and that a slow one slows down the reader."""

from __future__ import annotations

import asyncio
import queue
import threading

import pytest

import aquila
from aquila.engine.calls.prepared_call import PreparedCall
from aquila.errors import ConfigError, RateLimited, SinkError, StreamClosed, StreamError
from aquila.events import Chunk, Done, Event, Failed, Usage
from aquila.sinks import Sink
from tests.support.engines import Engine, live
from tests.support.provider import chat_chunk, chat_stream
from tests.support.server import Answer, json_answer, serving, sse


def test_ask_and_stream_push_the_same_events(engine: Engine) -> None:
    with serving(*[chat_stream("a", "b")] * 2) as server:
        asked, pushed = Sink.collector(), Sink.collector()
        reply = engine.ask("Hi", base_url=server.url, sink=asked)
        engine.push("Hi", base_url=server.url, sink=pushed)
    assert [type(event) for event in asked.events] == [Chunk, Chunk, Usage, Done]
    assert [type(event) for event in pushed.events] == [Chunk, Chunk, Usage, Done]
    assert asked.text == pushed.text == "ab"
    assert asked.response == reply
    assert asked.error is None


def test_queue_gets_every_event(engine: Engine) -> None:
    events: queue.Queue[Event] = queue.Queue()
    with serving(chat_stream("a")) as server:
        engine.push("Hi", base_url=server.url, sink=Sink.queue(events))
    assert [type(events.get_nowait()) for _ in range(3)] == [Chunk, Usage, Done]
    assert events.empty()


def test_ignored_events_still_give_a_result(engine: Engine) -> None:
    with serving(chat_stream("a")) as server:
        assert engine.push("Hi", base_url=server.url, sink=Sink.ignore()).text == "a"


def test_tee_hands_every_event_to_each_sink(engine: Engine) -> None:
    one, two = Sink.collector(), Sink.collector()
    with serving(chat_stream("a")) as server:
        engine.push("Hi", base_url=server.url, sink=Sink.tee(one, Sink.tee(two, Sink.ignore())))
    assert one.events == two.events
    assert one.text == "a"


def test_error_reaches_both_the_sink_and_the_result(engine: Engine) -> None:
    for start in (engine.ask, engine.push):
        sink = Sink.collector()
        with (
            serving(json_answer({"error": {"message": "slow down"}}, 429)) as server,
            pytest.raises(RateLimited) as caught,
        ):
            start("Hi", base_url=server.url, sink=sink, max_retries=0, metadata={"id": 1})
        assert isinstance(sink.events[-1], Failed)
        assert sink.events[-1].metadata == {"id": 1}
        assert sink.error is caught.value


def test_sink_that_raises_ends_the_call_and_is_the_cause(engine: Engine) -> None:
    def fail(event: Event) -> None:
        calls.append(event)
        raise ZeroDivisionError("boom")

    for start in (engine.ask, engine.push):
        calls: list[Event] = []
        with serving(Answer([sse(chat_chunk("a"), done=False), threading.Event()])) as server:
            with pytest.raises(SinkError, match="the sink raised ZeroDivisionError on Chunk") as caught:
                start("Hi", base_url=server.url, sink=Sink.callback(fail))
            assert server.left.wait(60)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert calls == [Chunk("a")]


def test_a_sink_that_fails_after_the_time_of_the_call_ends_it_with_its_own_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ask in (engine.ask, engine.push):
        with monkeypatch.context() as patch:

            def fail(event: Event, patch: pytest.MonkeyPatch = patch) -> None:
                patch.setattr(PreparedCall, "_is_overdue", lambda call: True)
                raise OSError("full")

            with serving(chat_stream("a")) as server, pytest.raises(SinkError):
                ask("Hi", base_url=server.url, sink=Sink.callback(fail), timeout=aquila.Timeouts(total=60))


def test_the_other_sinks_of_a_tee_are_told_that_one_failed(engine: Engine) -> None:
    healthy = Sink.collector()
    with serving(chat_stream("a")) as server, pytest.raises(SinkError):
        engine.ask("Hi", base_url=server.url, sink=Sink.tee(healthy, Sink.callback(lambda event: 1 / 0)))
    assert healthy.events[0] == Chunk("a")
    assert isinstance(healthy.error, SinkError)


def test_sink_of_a_tee_that_raised_gets_the_events_of_the_next_call(engine: Engine) -> None:
    seen: list[Event] = []

    def fail_at_first(event: Event) -> None:
        seen.append(event)
        assert len(seen) > 1, "the first"

    inner = Sink.collector()
    sink = Sink.tee(Sink.tee(Sink.callback(fail_at_first), inner), Sink.ignore())
    with serving(chat_stream("a"), chat_stream("b")) as server:
        with pytest.raises(SinkError):
            engine.ask("Hi", base_url=server.url, sink=sink)
        assert isinstance(inner.error, SinkError)
        engine.ask("Hi", base_url=server.url, sink=sink)
    assert seen[1] == Chunk("b")


def test_sinks_of_a_tee_are_told_of_a_failure_even_if_another_sink_raises(engine: Engine) -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError

    for start in (engine.ask, engine.push):
        told = Sink.collector()
        sink = Sink.tee(Sink.tee(Sink.callback(fail), Sink.ignore()), told)
        with serving(json_answer({"error": {"message": "slow down"}}, 429)) as server, pytest.raises(RateLimited):
            start("Hi", base_url=server.url, sink=sink, max_retries=0)
        assert isinstance(told.error, RateLimited)


def test_full_queue_holds_the_reader_back() -> None:
    """With room for two events, a third is not even taken from the stream before one has been got."""
    read: list[int] = []
    taken = threading.Condition()

    class Counting(Sink):
        def emit(self, event: Event) -> None:
            with taken:
                read.append(len(read))
                taken.notify_all()

    events: queue.Queue[Event] = queue.Queue(maxsize=2)
    with serving(chat_stream(*map(str, range(50)))) as server:
        sink = Sink.tee(Counting(), Sink.queue(events))
        stream = aquila.stream("Hi", **live({"base_url": server.url, "sink": sink}))
        with taken:
            assert taken.wait_for(lambda: len(read) == 3, timeout=60)
        for got in range(52):
            assert len(read) <= got + 3
            events.get(timeout=60)
        assert stream.result(timeout=60).text


def test_full_queue_holds_the_asynchronous_reader_back_without_blocking_the_loop() -> None:
    async def scenario(url: str) -> None:
        events: queue.Queue[Event] = queue.Queue(maxsize=1)
        stream = aquila.astream("Hi", **live({"base_url": url, "sink": Sink.queue(events)}))
        got = []
        while not got or not isinstance(got[-1], Done):
            if events.empty():
                await asyncio.sleep(0)  # the loop runs although the queue is full most of the time
            else:
                assert events.qsize() == 1
                got.append(events.get_nowait())
        assert (await stream.result()).text == "0123456789"

    with serving(chat_stream(*map(str, range(10)))) as server:
        asyncio.run(scenario(server.url))


def test_stream_whose_queue_is_full_can_be_closed() -> None:
    events: queue.Queue[Event] = queue.Queue(maxsize=1)
    pushed = threading.Event()
    sink = Sink.tee(Sink.callback(lambda event: pushed.set() if events.full() else None), Sink.queue(events))
    with serving(chat_stream("a", "b", "c")) as server:
        stream = aquila.stream("Hi", **live({"base_url": server.url, "sink": sink}))
        assert pushed.wait(60)
        closing = threading.Thread(target=stream.close, daemon=True)
        closing.start()
        closing.join(60)
        assert not closing.is_alive()
    with pytest.raises(StreamClosed):
        stream.result()
    assert not any(stream.ref in thread.name for thread in threading.enumerate())


def test_cancelled_call_leaves_no_thread_behind_that_waits_for_room() -> None:
    events: queue.Queue[Event] = queue.Queue(maxsize=1)

    async def scenario(url: str) -> None:
        pushed = asyncio.Event()
        sink = Sink.tee(Sink.callback(lambda event: pushed.set() if events.full() else None), Sink.queue(events))
        task = asyncio.create_task(aquila.aask("Hi", **live({"base_url": url, "sink": sink})))
        await pushed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with serving(chat_stream("a", "b", "c")) as server:
        asyncio.run(scenario(server.url))
    assert events.get_nowait() == Chunk("a")
    with pytest.raises(queue.Empty):
        events.get(timeout=0.2)  # a put that still waited would come now


def test_asynchronous_sinks_are_awaited() -> None:
    async def scenario(url: str) -> None:
        events: asyncio.Queue[Event] = asyncio.Queue(maxsize=1)
        seen: list[Event] = []

        async def note(event: Event) -> None:
            await asyncio.sleep(0)
            seen.append(event)

        sink = Sink.tee(Sink.queue(events), Sink.callback(note))
        stream = aquila.astream("Hi", **live({"base_url": url, "sink": sink}))
        while not isinstance(await events.get(), Done):
            pass
        await stream.result()
        assert [type(event) for event in seen] == [Chunk, Usage, Done]

    with serving(chat_stream("a")) as server:
        asyncio.run(scenario(server.url))


def test_an_asynchronous_sink_that_asks_for_the_result_of_its_stream_is_told_that_it_is_not_complete() -> None:
    async def scenario(url: str) -> None:
        async def wait(event: Event) -> None:
            await stream.result()

        stream = aquila.astream("Hi", **live({"base_url": url, "sink": Sink.callback(wait)}))
        with pytest.raises(SinkError) as caught:
            await stream.result(timeout=60)
        assert isinstance(caught.value.__cause__, StreamError)

    with serving(chat_stream("a")) as server:
        asyncio.run(scenario(server.url))


def test_asynchronous_sink_in_a_synchronous_call_is_refused() -> None:
    async def note(event: Event) -> None: ...

    for sink in (Sink.callback(note), Sink.queue(asyncio.Queue())):
        with serving(chat_stream("a")) as server, pytest.raises(SinkError) as caught:
            aquila.ask("Hi", **live({"base_url": server.url, "sink": sink}))
        assert isinstance(caught.value.__cause__, ConfigError)
        assert "works with aask() and astream()" in str(caught.value.__cause__)


def test_sinks_are_checked_when_they_are_built() -> None:
    with pytest.raises(ConfigError, match="needs an object with put"):
        Sink.queue([])
    with pytest.raises(ConfigError, match="needs a function"):
        Sink.callback("print")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a sink is built with"):
        Sink.tee(Sink.ignore(), print)  # type: ignore[arg-type]
