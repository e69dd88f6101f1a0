"""Client libraries as people use them: each records and replays, sync and async, whole, streamed, with tools, in error.

Run in an environment of its own: ``make test-clients``. A library that is not installed is left out, with the reason.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import aquila
from tests.clients.provider import FACT, WORDS, script
from tests.support.runs import separate_run
from tests.support.upstream import Upstream, upstream

TEXT = "".join(WORDS)
PROMPT = "What flies?"
SCHEMA = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]}

Drive = Callable[[str], Any]
"""Uses a client against the server at a URL, and gives what the client made of the answers."""

DRIVES: dict[tuple[str, str], Drive] = {}


def drive(library: str) -> Callable[[Drive], Drive]:
    """Register a way to use a library, under its function's name."""

    def register(function: Drive) -> Drive:
        DRIVES[library, function.__name__.partition("_")[2]] = function
        return function

    return register


async def collected(stream: AsyncIterator[Any], text: Callable[[Any], str | None]) -> list[str]:
    return [part async for chunk in stream if (part := text(chunk))]


# openai


def openai_client(url: str, kind: str = "OpenAI") -> Any:
    return getattr(importlib.import_module("openai"), kind)(base_url=f"{url}/v1", max_retries=0)


MESSAGES: list[Any] = [{"role": "user", "content": PROMPT}]
FUNCTION: Any = {"type": "function", "function": {"name": "look_up", "description": "x", "parameters": SCHEMA}}


def text_of(chunk: Any) -> str | None:
    return chunk.choices[0].delta.content if chunk.choices else None


@drive("openai")
def openai_sync(url: str) -> Any:
    with openai_client(url) as client:
        return client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content


@drive("openai")
def openai_async(url: str) -> Any:
    async def go() -> Any:
        async with openai_client(url, "AsyncOpenAI") as client:
            return (await client.chat.completions.create(model="m", messages=MESSAGES)).choices[0].message.content

    return asyncio.run(go())


@drive("openai")
def openai_stream(url: str) -> Any:
    with openai_client(url) as client:
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return [part for chunk in stream if (part := text_of(chunk))]


@drive("openai")
def openai_stream_async(url: str) -> Any:
    async def go() -> Any:
        async with openai_client(url, "AsyncOpenAI") as client:
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            return await collected(stream, text_of)

    return asyncio.run(go())


@drive("openai")
def openai_tools(url: str) -> Any:
    with openai_client(url) as client:
        first = client.chat.completions.create(model="m", messages=MESSAGES, tools=[FUNCTION]).choices[0].message
        call = first.tool_calls[0]
        result = {"role": "tool", "tool_call_id": call.id, "content": FACT}
        messages = [*MESSAGES, first.model_dump(exclude_none=True), result]
        last = client.chat.completions.create(model="m", messages=messages, tools=[FUNCTION])
        return [call.function.name, call.function.arguments, last.choices[0].message.content]


@drive("openai")
def openai_error(url: str) -> Any:
    openai = importlib.import_module("openai")
    with openai_client(url) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "fail"}])
    return str(caught.value)


# anthropic

ANTHROPIC: dict[str, Any] = {"model": "m", "max_tokens": 100}
TOOL: Any = {"name": "look_up", "description": "x", "input_schema": SCHEMA}


def anthropic_client(url: str, kind: str = "Anthropic") -> Any:
    return getattr(importlib.import_module("anthropic"), kind)(base_url=url, max_retries=0)


@drive("anthropic")
def anthropic_sync(url: str) -> Any:
    with anthropic_client(url) as client:
        return client.messages.create(messages=MESSAGES, **ANTHROPIC).content[0].text


@drive("anthropic")
def anthropic_async(url: str) -> Any:
    async def go() -> Any:
        async with anthropic_client(url, "AsyncAnthropic") as client:
            return (await client.messages.create(messages=MESSAGES, **ANTHROPIC)).content[0].text

    return asyncio.run(go())


@drive("anthropic")
def anthropic_stream(url: str) -> Any:
    with anthropic_client(url) as client, client.messages.stream(messages=MESSAGES, **ANTHROPIC) as stream:
        return list(stream.text_stream)


@drive("anthropic")
def anthropic_stream_async(url: str) -> Any:
    async def go() -> Any:
        async with (
            anthropic_client(url, "AsyncAnthropic") as client,
            client.messages.stream(messages=MESSAGES, **ANTHROPIC) as stream,
        ):
            return await collected(stream.text_stream, str)

    return asyncio.run(go())


@drive("anthropic")
def anthropic_tools(url: str) -> Any:
    with anthropic_client(url) as client:
        first = client.messages.create(messages=MESSAGES, tools=[TOOL], **ANTHROPIC)
        call = first.content[0]
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": FACT}]}
        said = {"role": "assistant", "content": [call.model_dump(exclude_none=True)]}
        last = client.messages.create(messages=[*MESSAGES, said, result], tools=[TOOL], **ANTHROPIC)
        return [call.name, call.input, last.content[0].text]


@drive("anthropic")
def anthropic_error(url: str) -> Any:
    anthropic = importlib.import_module("anthropic")
    with anthropic_client(url) as client, pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(messages=[{"role": "user", "content": "fail"}], **ANTHROPIC)
    return str(caught.value)


# pydantic-ai


def agent(url: str) -> Any:
    pydantic_ai = importlib.import_module("pydantic_ai")
    chat = importlib.import_module("pydantic_ai.models.openai").OpenAIChatModel
    provider = importlib.import_module("pydantic_ai.providers.openai").OpenAIProvider
    return pydantic_ai.Agent(chat("m", provider=provider(base_url=f"{url}/v1")))


@drive("pydantic_ai")
def pydantic_sync(url: str) -> Any:
    return agent(url).run_sync(PROMPT).output


@drive("pydantic_ai")
def pydantic_async(url: str) -> Any:
    async def go() -> Any:
        return (await agent(url).run(PROMPT)).output

    return asyncio.run(go())


@drive("pydantic_ai")
def pydantic_stream(url: str) -> Any:
    stream = agent(url).run_stream_sync(PROMPT)
    return [part for part in stream.stream_text(delta=True, debounce_by=None) if part]


@drive("pydantic_ai")
def pydantic_stream_async(url: str) -> Any:
    async def go() -> Any:
        async with agent(url).run_stream(PROMPT) as stream:
            return await collected(stream.stream_text(delta=True, debounce_by=None), str)

    return asyncio.run(go())


@drive("pydantic_ai")
def pydantic_tools(url: str) -> Any:
    heard: list[str] = []

    def look_up(animal: str) -> str:
        heard.append(animal)
        return FACT

    one = agent(url)
    one.tool_plain(look_up)
    return [*heard, one.run_sync(PROMPT).output, heard]


@drive("pydantic_ai")
def pydantic_error(url: str) -> Any:
    errors = importlib.import_module("pydantic_ai.exceptions")
    with pytest.raises(errors.ModelHTTPError) as caught:
        agent(url).run_sync("fail")
    return [caught.value.status_code, str(caught.value)]


# langchain-openai


def chat(url: str) -> Any:
    kind = importlib.import_module("langchain_openai").ChatOpenAI
    return kind(model="m", base_url=f"{url}/v1", max_retries=0)


@drive("langchain_openai")
def langchain_sync(url: str) -> Any:
    return chat(url).invoke(PROMPT).content


@drive("langchain_openai")
def langchain_async(url: str) -> Any:
    async def go() -> Any:
        return (await chat(url).ainvoke(PROMPT)).content

    return asyncio.run(go())


@drive("langchain_openai")
def langchain_stream(url: str) -> Any:
    return [chunk.content for chunk in chat(url).stream(PROMPT) if chunk.content]


@drive("langchain_openai")
def langchain_stream_async(url: str) -> Any:
    return asyncio.run(collected(chat(url).astream(PROMPT), lambda chunk: chunk.content))


@drive("langchain_openai")
def langchain_tools(url: str) -> Any:
    messages = importlib.import_module("langchain_core.messages")
    bound = chat(url).bind_tools([FUNCTION])
    said: list[Any] = [messages.HumanMessage(PROMPT)]
    first = bound.invoke(said)
    call = first.tool_calls[0]
    said += [first, messages.ToolMessage(FACT, tool_call_id=call["id"])]
    return [call["name"], call["args"], bound.invoke(said).content]


@drive("langchain_openai")
def langchain_error(url: str) -> Any:
    openai = importlib.import_module("openai")
    with pytest.raises(openai.BadRequestError) as caught:
        chat(url).invoke("fail")
    return str(caught.value)


EXPECTED = {
    "sync": TEXT,
    "async": TEXT,
    "stream": list(WORDS),
    "stream_async": list(WORDS),
}


@pytest.mark.parametrize(("library", "way"), [pytest.param(*one, id="-".join(one)) for one in DRIVES])
@pytest.mark.filterwarnings("default")  # of theirs
def test_a_client_records_and_replays(library: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library, reason=f"make test-clients tries {library}")
    use = DRIVES[library, way]
    server: Upstream
    with separate_run(tmp_path), upstream(script) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
        with aquila.use_cassette("x", transport="record") as cassette:
            recorded = use(server.url)
            assert cassette.record_count == len(server.requests) > 0
        reached = len(server.requests)
        monkeypatch.delenv("OPENAI_API_KEY")
        monkeypatch.delenv("ANTHROPIC_API_KEY")
        with aquila.use_cassette("x") as cassette:
            assert use(server.url) == recorded
            assert cassette.all_played
        assert len(server.requests) == reached
    if way in EXPECTED:
        assert recorded == EXPECTED[way]
    elif way == "tools":
        assert TEXT in recorded
        assert reached == 2
    else:
        assert "400" in str(recorded)
        assert "the prompt is not wanted" in str(recorded)
