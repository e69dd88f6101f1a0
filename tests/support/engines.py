"""The two faces of the engine behind one: a test that takes ``engine`` runs for ``ask`` and for ``aask``."""

from __future__ import annotations

import asyncio
from typing import Any

import aquila
from aquila.events import Event
from aquila.response import Response

KEY = "sk-test-0123456789abcdef0123456789"


class SyncEngine:
    """``ask`` and ``stream``, live against a server of the test."""

    name = "sync"

    def ask(self, prompt: Any, **options: Any) -> Response:
        return aquila.ask(prompt, **live(options))

    def events(self, prompt: Any, **options: Any) -> list[Event]:
        with aquila.stream(prompt, **live(options)) as stream:
            return list(stream)

    def push(self, prompt: Any, **options: Any) -> Response:
        return aquila.stream(prompt, **live(options)).result(timeout=60)


class AsyncEngine:
    """``aask`` and ``astream``, live against a server of the test."""

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
    """Options that reach a server of the test with a key of its own, whatever the machine is set up for."""
    return {"transport": "live", "api_key": KEY, "model": "test-model", **options}
