"""Files are read and written in threads, for the requests of an event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import anyio
import httpx
import pytest

import aquila
from aquila.transports.own_threads import run_in_thread
from tests.support.upstream import Answer, upstream


def test_no_thread_is_left_by_a_loop_that_ctrl_c_has_stopped(root: Path) -> None:
    """At its end the interpreter would wait for it for ever."""

    async def ask(url: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": []})

    def interrupt() -> None:
        raise KeyboardInterrupt

    async def ask_until_interrupted(url: str) -> None:
        await ask(url)
        asyncio.get_running_loop().call_soon(interrupt)
        await asyncio.Event().wait()

    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if not thread.daemon}

    with upstream(lambda path, body: Answer()) as server:
        for transport in ("record", "replay"):
            before = threads()
            loop = asyncio.new_event_loop()
            with aquila.use_cassette("x", transport=transport), pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(ask_until_interrupted(server.url))
            loop.close()
            for thread in threads() - before:
                thread.join(5)
                assert not thread.is_alive()


def test_a_function_is_completed_for_a_task_that_is_cancelled_twice() -> None:
    completed = threading.Event()

    async def be_cancelled_twice() -> None:
        async def write() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await run_in_thread(completed.set)

        task = asyncio.create_task(write())
        await asyncio.sleep(0)
        task.cancel()
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(be_cancelled_twice())
    assert completed.wait(5)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_error_of_the_function_reaches_the_caller(backend: str) -> None:
    async def fail() -> None:
        with pytest.raises(KeyError, match="gone"):
            await run_in_thread({}.__getitem__, "gone")

    anyio.run(fail, backend=backend)


def test_a_function_whose_next_finds_nothing_does_not_let_its_caller_wait() -> None:
    """As that of a hook or a filter of a project. Python 3.11 gives no ``StopIteration`` to a task."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(asyncio.wait_for(run_in_thread(next, iter(())), 5))
