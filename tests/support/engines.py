"""The sync and the async engine behind one interface. A test with the fixture ``engine`` runs once with each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aquila
from aquila.events import Event
from aquila.response import Response

KEY = "sk-test-0123456789abcdef0123456789"


class SyncEngine:
    """``ask`` and ``stream``, live with the test's server."""

    name = "sync"

    def ask(self, prompt: Any, **options: Any) -> Response:
        return aquila.ask(prompt, **live(options))

    def events(self, prompt: Any, **options: Any) -> list[Event]:
        with aquila.stream(prompt, **live(options)) as stream:
            return list(stream)

    def push(self, prompt: Any, **options: Any) -> Response:
        return aquila.stream(prompt, **live(options)).result(timeout=60)


class AsyncEngine:
    """``aask`` and ``astream``, live with the test's server."""

    name = "async"

    def ask(self, prompt: Any, **options: Any) -> Response:
        return asyncio.run(aquila.aask(prompt, **live(options)))

    def events(self, prompt: Any, **options: Any) -> list[Event]:
        async def collect() -> list[Event]:
            async with aquila.astream(prompt, **live(options)) as stream:
                return [event async for event in stream]

        return asyncio.run(collect())

    def push(self, prompt: Any, **options: Any) -> Response:
        async def wait() -> Response:
            return await aquila.astream(prompt, **live(options)).result(timeout=60)

        return asyncio.run(wait())


Engine = SyncEngine | AsyncEngine
ENGINES: list[Engine] = [SyncEngine(), AsyncEngine()]


def live(options: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` with a transport, a key and a model, so that no setting of the machine is used."""
    return {"transport": "live", "api_key": KEY, "model": "test-model", **options}


async def cancel_while_reading(**options: Any) -> None:
    """Begin to read a stream in a task, and cancel the task when something has arrived."""
    arrived = asyncio.Event()

    async def read() -> None:
        async for _ in aquila.astream("Hi", **options):
            arrived.set()

    task = asyncio.create_task(read())
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
