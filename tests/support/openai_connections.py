"""Programs over one WebSocket of the openai SDK, written once for its client for threads and that for event loops."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import openai

Use = Callable[[Any], Awaitable[Any]]
"""A program: it is given the connection, and awaits what its methods return by ``of``."""


async def of(value: Any) -> Any:
    """What a method of a client returned, awaited if it is one for event loops."""
    return await value if inspect.isawaitable(value) else value


class Runs:
    """Runs programs, each over a connection of its own to ``path``: ``responses`` or ``realtime``."""

    def __init__(self, in_loop: bool, path: str, **options: str) -> None:
        self._in_loop = in_loop
        self._path = path
        self._options = options
        self._of_client: Any = {"api_key": "sk-proj-a1B2a1B2a1B2a1B2a1B2", "max_retries": 0}

    def __call__(self, use: Use) -> Any:
        return asyncio.run(self._talk_in_loop(use)) if self._in_loop else self._talk(use)

    def _talk(self, use: Use) -> Any:
        with openai.OpenAI(**self._of_client) as client:
            connecting: Any = getattr(client, self._path).connect(**self._options)
            with connecting as connection:
                try:
                    use(connection).send(None)  # type: ignore[attr-defined]
                except StopIteration as end:
                    return end.value
        raise AssertionError("nothing of it waits for an event loop")

    async def _talk_in_loop(self, use: Use) -> Any:
        async with openai.AsyncOpenAI(**self._of_client) as client:
            connecting: Any = getattr(client, self._path).connect(**self._options)
            async with connecting as connection:
                return await use(connection)
