"""Scripts and faults in every library for WebSockets, from several threads and tasks, left early and cancelled."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import websockets.asyncio.client
from websockets.sync.client import connect as connect_in_thread

from aquila.errors import SessionClosed, UnscriptedRequest
from aquila.testing import use_script
from tests.support.slow import slow_but
from tests.support.web_socket_clients import CLIENTS, Closed, Connect, Refused, Talk

pytestmark = pytest.mark.usefixtures("root")

URL = "wss://api.openai.com/v1/responses"


@pytest.fixture(params=slow_but(["websockets in a loop", "aiohttp", "websocket-client"], CLIENTS))
def connect(request: pytest.FixtureRequest) -> Connect:
    return CLIENTS[request.param]


def asking(text: str, **fields: Any) -> str:
    return json.dumps({"type": "response.create", "model": "m", "input": text, **fields})


def ask(talk: Talk, text: str, **fields: Any) -> str:
    talk.send(asking(text, **fields))
    return hear(talk)


def hear(talk: Talk) -> str:
    told = ""
    while True:
        event = json.loads(talk.recv())
        told += event["delta"] if event["type"] == "response.output_text.delta" else ""
        if event["type"] == "response.completed":
            return told


def test_a_script_answers(connect: Connect) -> None:
    with use_script() as script:
        script.reply("one").reply("two")
        with connect(URL) as talk:
            assert [ask(talk, "a"), ask(talk, "b")] == ["one", "two"]
    assert [request.text for request in script.requests] == ["a", "b"]


def test_a_connection_breaks_is_closed_and_is_refused(connect: Connect) -> None:
    with use_script(
        faults="cut_stream(after=1), abnormal_close(code=1013, reason='busy', after=1), overloaded"
    ) as script:
        script.reply("one")
        with pytest.raises(Refused) as refused, connect(URL):
            pass
        assert refused.value.args[0] == 503
        closes = []
        for _ in range(2):
            with connect(URL) as talk:
                talk.send(asking("a"))
                talk.recv()
                with pytest.raises(Closed) as closed:
                    talk.recv()
                closes.append(closed.value.code)
        assert closes[0] in (1006, None)
        assert closes[1] == 1013
        with connect(URL) as talk:
            assert ask(talk, "a") == "one"


def test_a_question_without_an_answer_is_a_miss(connect: Connect) -> None:
    with use_script(), connect(URL) as talk, pytest.raises(UnscriptedRequest, match="no answer is scripted"):
        talk.send(asking("a"))


def test_threads_ask_over_one_connection_and_each_gets_its_own_answer() -> None:
    names = [f"number {number}." for number in range(12)]
    with use_script() as script:
        for name in names:
            script.when(last=name).reply(f"This is {name}")
        with connect_in_thread(URL) as connection:
            with ThreadPoolExecutor(4) as pool:
                for _ in pool.map(lambda name: connection.send(asking(name, stream_id=name)), names):
                    pass
            told = dict.fromkeys(names, "")
            left = set(names)
            while left:
                event = json.loads(connection.recv())
                told[event["stream_id"]] += event.get("delta", "") if "output_text.delta" in event["type"] else ""
                if event["type"] == "response.completed":
                    left.discard(event["stream_id"])
    assert told == {name: f"This is {name}" for name in names}


def test_tasks_with_a_connection_each_and_one_that_is_cancelled() -> None:
    async def talk(name: str) -> str:
        told = ""
        async with websockets.asyncio.client.connect(URL) as connection:
            await connection.send(asking(name))
            async for message in connection:
                event = json.loads(message)
                told += event["delta"] if event["type"] == "response.output_text.delta" else ""
                if event["type"] == "response.completed":
                    return told
        return told

    async def all_of_them() -> list[str]:
        waiting = asyncio.create_task(talk("for ever"))
        others = await asyncio.gather(*(talk(f"task {number}.") for number in range(8)))
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return others

    with use_script() as script:
        script.when("for ever").reply(chunks=["a", "b"], pace=3600, first=3600)
        for number in range(8):
            script.when(f"task {number}.").reply(f"is {number}")
        assert asyncio.run(all_of_them()) == [f"is {number}" for number in range(8)]
    assert script.left == []


def test_who_leaves_in_the_midst_of_an_answer_leaves_no_thread_behind() -> None:
    with use_script() as script:
        script.reply(chunks=["a", "b"], pace=3600, times=3)
        for leave in ("close", "close_socket"):
            with connect_in_thread(URL) as connection:
                connection.send(asking("a"))
                connection.recv()
                getattr(connection, leave)()
    for thread in threading.enumerate():
        if thread.name == "aquila-websocket":
            thread.join(60)
            assert not thread.is_alive()
    assert len(script.left) == 1


def test_a_reader_is_told_when_the_use_of_the_script_has_ended() -> None:
    failures: list[BaseException] = []

    def read(connection: Any, reads: threading.Event) -> None:
        try:
            for _ in range(100):
                connection.recv()
                reads.set()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    with use_script() as script:
        script.reply(chunks=["a", "b"], first=3600)
        connection = connect_in_thread(URL).__enter__()
        connection.send(asking("a"))
        reads = threading.Event()
        thread = threading.Thread(target=read, args=(connection, reads))
        thread.start()
        reads.wait()
    thread.join(60)
    connection.close()
    assert [type(failure).__name__ for failure in failures] == [SessionClosed.__name__]


def test_a_script_answers_again_in_the_next_use() -> None:
    for _ in range(2):
        with use_script() as script, connect_in_thread(URL) as connection:
            script.reply("again")
            assert ask(connection, "a") == "again"
