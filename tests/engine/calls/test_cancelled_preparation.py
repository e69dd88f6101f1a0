"""A call that is cancelled while its cassette is being opened leaves nothing open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aquila
from aquila.engine.calls import call_plan
from aquila.transports.routes import routing
from aquila.transports.routes.route import Route
from tests.support.engines import live
from tests.support.runs import separate_run


def journals(root: Path) -> list[Path]:
    return sorted(root.rglob("*.journal/*.journal"))


async def ask() -> None:
    await aquila.aask("Hi", **live({"cassette": "x", "transport": "record", "base_url": "http://127.0.0.1:9/v1"}))


async def send() -> None:
    async with aquila.async_http_client(cassette="x", transport="record") as client:
        await client.send(httpx2.Request("POST", "http://127.0.0.1:9/v1/chat/completions"))


@pytest.mark.parametrize(("work", "module"), [(ask, call_plan), (send, routing)])
@pytest.mark.parametrize("moment", ["before", "behind"])
def test_a_route_that_is_opened_for_a_cancelled_call_is_closed(
    work: Callable[[], Any], module: Any, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, left, closed = threading.Event(), threading.Event(), threading.Event()
    resolve = module.resolve_route

    def resolve_slowly(**given: Any) -> Route:
        if moment == "before":
            opening.set()
            assert left.wait(60)
        route: Route = resolve(**given)
        assert journals(tmp_path), "nothing was opened"
        close = route.close

        def close_and_tell(**how: Any) -> None:
            close(**how)
            closed.set()

        monkeypatch.setattr(route, "close", close_and_tell)
        opening.set()
        return route

    monkeypatch.setattr(module, "resolve_route", resolve_slowly)

    async def scenario() -> None:
        task = asyncio.create_task(work())
        while not opening.is_set():  # not by a thread, so that the cancellation comes while the route is on its way
            await asyncio.sleep(0)
        task.cancel()
        left.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    with separate_run(tmp_path):
        asyncio.run(scenario())
        assert closed.wait(60)
        assert not journals(tmp_path)
