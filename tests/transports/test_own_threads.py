"""Files are read and written in threads, for the requests of an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import httpx
import pytest

import aquila
from aquila.errors import CassetteMiss
from aquila.transports.own_threads import run_in_thread
from tests.support.upstream import Answer, upstream


def test_no_thread_is_left_by_a_loop_that_ctrl_c_has_stopped(root: Path) -> None:
    """At its end the interpreter would wait for it for ever."""

    async def ask(url: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": []})

    async def transcribe(url: str) -> None:
        await aquila.atranscribe(b"RIFF", filename="x.wav", base_url=f"{url}/v1")

    def interrupt() -> None:
        raise KeyboardInterrupt

    async def call_until_interrupted(call: Callable[[str], Awaitable[None]], url: str) -> None:
        with contextlib.suppress(CassetteMiss):
            await call(url)
        asyncio.get_running_loop().call_soon(interrupt)
        await asyncio.Event().wait()

    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if not thread.daemon}

    with upstream(lambda path, body: Answer()) as server:
        for transport, call in (("record", ask), ("replay", ask), ("replay", transcribe)):
            before = threads()
            loop = asyncio.new_event_loop()
            with aquila.use_cassette("x", transport=transport), pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(call_until_interrupted(call, server.url))
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


def test_a_thousand_functions_at_once_share_a_bounded_number_of_threads() -> None:
    lock = threading.Lock()
    counts = []

    def count_threads() -> None:
        with lock:
            counts.append(sum(thread.name == "aquila-files" for thread in threading.enumerate()))

    async def run_all() -> None:
        with lock:  # until all wait for it
            running = asyncio.gather(*(run_in_thread(count_threads) for _ in range(1000)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await running

    asyncio.run(run_all())
    assert len(counts) == 1000
    assert max(counts) == 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_runs_functions_though_all_threads_of_its_parent_are_busy() -> None:
    go_on = threading.Event()

    async def fork_while_all_are_busy() -> int:
        busy = [asyncio.ensure_future(run_in_thread(go_on.wait)) for _ in range(50)]
        await asyncio.sleep(0)
        pid = os.fork()
        if pid == 0:
            asyncio.events._set_running_loop(None)
            try:
                os._exit(0 if asyncio.run(asyncio.wait_for(run_in_thread(int, "5"), 5)) == 5 else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(pid, 0)
        go_on.set()
        await asyncio.gather(*busy)
        return os.waitstatus_to_exitcode(status)

    assert asyncio.run(fork_while_all_are_busy()) == 0
