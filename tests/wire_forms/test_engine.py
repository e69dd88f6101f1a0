"""``ask``, ``stream`` and their asynchronous twins read scripted answers over both endpoints of OpenAI."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

import aquila
from aquila.errors import AuthenticationError
from aquila.events import Chunk
from aquila.scripting.script import Script
from aquila.wire_forms.answer import WrittenUsage

ENDPOINTS = pytest.mark.parametrize("endpoint", ["chat", "responses"])


class City(BaseModel):
    city: str


def weather(city: str) -> str:
    """The weather.

    city: where
    """
    return f"Sunny in {city}."


@ENDPOINTS
def test_text_reasoning_and_usage_are_read(aquila_script: Script, endpoint: Any) -> None:
    for _ in range(3):
        aquila_script.reply("It is sunny.", reasoning="Let me see.", usage=WrittenUsage(12, 7, 3, 2))
    with aquila.stream("Weather?", endpoint=endpoint) as stream:
        chunks = [event.text for event in stream if isinstance(event, Chunk)]
    assert chunks == ["It ", "is ", "sunny."]
    answers = [stream.response, aquila.ask("Weather?", endpoint=endpoint)]
    answers.append(asyncio.run(aquila.aask("Weather?", endpoint=endpoint)))
    for answer in answers:
        assert (answer.text, answer.reasoning) == ("It is sunny.", "Let me see.")
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (12, 7)
        assert answer.meta["finish_reason"] == "stop"


@ENDPOINTS
def test_tools_are_called_until_there_is_a_text(aquila_script: Script, endpoint: Any) -> None:
    aquila_script.tool_calls(("weather", {"city": "Rome"}), ("weather", {"city": "Ulm"})).reply("Sunny in both.")
    answer = aquila.ask("Weather?", tools=[weather], endpoint=endpoint)
    assert answer.text == "Sunny in both."
    _, second = aquila_script.requests
    results = [message for message in second.messages if message.role == "tool"]
    assert [(message.text, message.tool_call_id) for message in results] == [
        ("Sunny in Rome.", "call_1_1"),
        ("Sunny in Ulm.", "call_1_2"),
    ]
    called = [call.arguments for message in second.messages for call in message.tool_calls]
    assert called == [{"city": "Rome"}, {"city": "Ulm"}]
    assert second.tools[0].name == "weather"


@ENDPOINTS
def test_structured_outputs_refusals_and_cut_answers_are_read(aquila_script: Script, endpoint: Any) -> None:
    aquila_script.reply(json={"city": "Rome"}).refuse("I can't.").reply("It is", finish="length")
    assert aquila.ask("Where?", response_format=City, endpoint=endpoint).parsed == City(city="Rome")
    assert aquila.ask("Where?", endpoint=endpoint).refusal == "I can't."
    assert aquila.ask("Where?", endpoint=endpoint).meta["finish_reason"] == "length"


@ENDPOINTS
def test_errors_are_typed_and_a_rate_limit_is_asked_again(aquila_script: Script, endpoint: Any) -> None:
    aquila_script.error(429, retry_after=0).reply("Hi").error(401)
    assert aquila.ask("Hi", endpoint=endpoint).text == "Hi"
    with pytest.raises(AuthenticationError):
        aquila.ask("Hi", endpoint=endpoint)
    assert len(aquila_script.requests) == 3


def test_an_answer_made_in_the_background_is_there_at_once(aquila_script: Script) -> None:
    aquila_script.reply("Long thought.")
    assert aquila.ask("Think.", background=True, endpoint="responses").text == "Long thought."
    assert json.loads(aquila_script.requests[0].body)["background"] is True
