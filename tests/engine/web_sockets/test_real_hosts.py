"""``websocket=True`` at the provider's own name, over TLS: recorded there, and replayed where nothing listens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import ConnectionFailed
from tests.support.engines import KEY, Engine
from tests.support.provider import responses_events
from tests.support.real_hosts import reachable
from tests.support.responses_over_sockets import SocketProvider, called
from tests.support.runs import separate_run
from tests.support.web_sockets import web_socket_provider

HOST = "api.openai.com"
NOTHING_LISTENS = 9


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project of its own, outside pytest's rules."""
    with separate_run(tmp_path):
        yield tmp_path / "cassettes"


def double(x: int) -> int:
    return x * 2


def test_a_call_is_recorded_at_the_providers_name_and_replayed_without_it(engine: Engine, folder: Path) -> None:
    options: dict[str, Any] = {"endpoint": "responses", "websocket": True, "cassette": "x"}
    provider = SocketProvider([called(("double", '{"x": 4}')), responses_events("eight", id="resp_2")])
    with web_socket_provider(HOST, speak=provider.speak) as provider.server:
        reply = engine.ask("Twice four?", tools=[double], transport="record", api_key=KEY, **options)
    assert reply.text == "eight"
    assert (len(provider.asked), provider.connections) == (2, 1)
    (stored,) = load_cassette(folder / "x.yaml").interactions
    assert stored.request.url == f"wss://{HOST}/v1/responses"
    assert KEY not in (folder / "x.yaml").read_text()
    with reachable({HOST: NOTHING_LISTENS}):
        assert engine.ask("Twice four?", tools=[double], transport="replay", **options).text == "eight"
        with pytest.raises(ConnectionFailed):
            engine.ask("Twice four?", transport="live", api_key=KEY, max_retries=0, **options)
