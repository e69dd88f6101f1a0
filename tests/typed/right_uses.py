"""Right uses of the public functions. Type checkers must accept each line, and see the types that are asserted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, assert_type

import httpx2
import pytest
from pydantic import BaseModel

import aquila
from aquila import research, vcr
from aquila.testing import CassetteOptions, FaultPlan, Faults, MarkerOptions


class City(BaseModel):
    name: str


ModelT = TypeVar("ModelT", bound=BaseModel)


def weather(city: str) -> str:
    return f"fine in {city}"


def forms_of_a_prompt() -> None:
    conversation = [("system", "You know birds."), ("user", "How do eagles fly?")]
    message = {"role": "user", "content": "Hi"}
    picture = aquila.image_url("https://example.org/eagle.png", detail="low")
    aquila.ask("Hi")
    aquila.ask(("user", "Hi"))
    aquila.ask(("user", ["What is this?", picture]))
    aquila.ask(conversation)
    aquila.ask(message)
    aquila.ask([message, message])
    aquila.ask(aquila.Message("user", "Hi"))
    shown = aquila.Message("user", ["What is this?", picture, {"type": "text", "text": "Be brief."}])
    assert_type(shown.content, str | tuple[aquila.Part, ...])
    aquila.ask([shown, aquila.Message("assistant", None), aquila.Message("user", picture), aquila.Message("user")])
    aquila.ask([*aquila.ask("Hi").messages, "And storks?", picture, {"role": "user", "content": [picture]}])


def only_pictures(*pictures: aquila.Part) -> aquila.Message:
    return aquila.Message("user", [*pictures, "What is this?"])


def options_of_a_call(transport: httpx2.MockTransport, more: Mapping[str, Any]) -> None:
    aquila.ask(
        "Hi",
        model="gpt-4.1-mini",
        instructions=None,
        endpoint="responses",
        temperature=0,
        stop=["\n"],
        max_output_tokens=20,
        tools=[weather, aquila.tool(weather), "web_search", {"type": "mcp", "server_label": "x"}],
        tool_choice="auto",
        max_tool_calls=3,
        user="customer-17",
        service_tier="flex",
        truncation="auto",
        text={"verbosity": "low"},
        reasoning={"effort": "low"},
        metadata={"job": 7},
        cassette="some/name",
        transport=transport,
        timeout=aquila.Timeouts(total=5),
        max_retries=0,
        provider_options={"logit_bias": {}},
        sink=aquila.Sink.collector(),
    )
    aquila.ask("Hi", **more)


def wrapper(prompt: aquila.Prompt, options: aquila.AskOptions) -> aquila.Response:
    return aquila.ask(prompt, **options)


def parse(question: str, model: type[ModelT]) -> ModelT | None:
    return aquila.ask(question, response_format=model, temperature=0).parsed


def pass_on(form: Any, options: aquila.AskOptions) -> str | None:
    parsed = aquila.ask("Hi", response_format=form, **options).parsed
    return parsed and str(parsed.name)


def types_of_answers() -> None:
    assert_type(aquila.ask("Hi", response_format=City).parsed, City | None)
    assert_type(aquila.ask("Hi", response_format=City, temperature=0), aquila.Response[City])
    assert_type(aquila.ask("Hi"), aquila.Response[None])
    assert_type(aquila.ask("Hi", response_format={"type": "json_object"}).text, str)
    maybe: type[City] | None = City if aquila.ask("Which?").text else None
    assert_type(aquila.ask("Hi", response_format=maybe).parsed, City | None)
    either: aquila.Response[City | None] = aquila.ask("Hi", response_format=maybe)
    model: aquila.Response[BaseModel] = aquila.ask("Hi", response_format=City)
    whatever: aquila.Response = aquila.ask("Hi", response_format={"type": "json_object"})
    nothing: aquila.Response[None] = aquila.ask("Hi", response_format=None)
    print(either, model, whatever, nothing)
    with aquila.stream("Hi", response_format=City) as stream:
        for event in stream:
            if isinstance(event, aquila.Chunk):
                assert_type(event.text, str)
        assert_type(stream.response.parsed, City | None)
        assert_type(stream.result(timeout=5), aquila.Response[City])


async def types_of_asynchronous_answers() -> None:
    assert_type(await aquila.aask("Hi", response_format=City), aquila.Response[City])
    async with aquila.astream("Hi", response_format=City) as stream:
        async for event in stream:
            assert_type(event, aquila.Event)
        assert_type(stream.response.parsed, City | None)
    assert_type(await aquila.atranscribe("a.wav"), aquila.Transcription)


def other_calls(reply: aquila.Response) -> None:
    assert_type(aquila.transcribe(b"RIFF", filename="a.wav", language="en"), aquila.Transcription)
    assert_type(aquila.transcribe("a.wav", raw=True, response_format="srt"), dict[str, Any] | str)
    aquila.retrieve_response(reply, timeout=5, cassette="x")
    aquila.delete_response("resp_1")
    started = research.create("Hi", model="o3-deep-research")
    research.result(started, timeout=600, poll_interval=1, sink=aquila.Sink.ignore())
    assert_type(research.create("Hi", response_format=City), aquila.Response[City])
    assert_type(research.stream("Hi", response_format=City, temperature=0), aquila.Stream[City])
    assert_type(research.astream("Hi", response_format={"type": "text"}), aquila.AsyncStream[None])


@aquila.use_cassette("birds", ignore=["$.user"], replay_timing="recorded")
def decorated(question: str) -> int:
    return len(question)


def cassettes() -> None:
    assert_type(decorated("Hi"), int)
    with aquila.use_cassette("birds", transport="record", record="all", max_age="90d") as cassette:
        print(cassette)
    aquila.http_client(cassette="birds", headers={"x-team": "birds"}, timeout=5, follow_redirects=False)
    aquila.async_http_client(transport="replay")


MARKED: MarkerOptions = {"cassette": "birds", "guard": "all", "match_on": ["method", "body"]}


@pytest.mark.aquila(**MARKED)
def marked() -> None:
    pass


def wrapped(name: str, options: CassetteOptions) -> None:
    with aquila.use_cassette(name, **options):
        pass


def faults(aquila_faults: Faults) -> None:
    with aquila_faults.overloaded(2.5, times=None) as plan, aquila_faults.rate_limit(form="date"):
        assert_type(plan, FaultPlan)


def parts() -> None:
    aquila.file("report.pdf")
    aquila.file(url="https://example.org/report.pdf")


def vcrpy(path: Path) -> None:
    recorder = vcr.VCR(record_mode="none", filter_headers=["authorization"])
    with recorder.use_cassette(path / "a.yaml", match_on=["method", "uri"]) as cassette:
        count: int = cassette.play_count
        print(count, cassette.all_played, len(cassette.requests))

    @vcr.use_cassette
    def number() -> int:
        return 1

    one: int = number()
    print(one)
