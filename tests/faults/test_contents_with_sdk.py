"""What a program sees of changed answers through OpenAI's SDK."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from openai import APIError, APIStatusError, ContentFilterFinishReasonError, LengthFinishReasonError, OpenAI
from pydantic import BaseModel

from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.faults.contents import REFUSAL
from aquila.faults.parsing import read_faults
from aquila.scripting.script import Script

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
RESPONSE: dict[str, Any] = {"model": "m", "input": "hi"}


class City(BaseModel):
    name: str


def client(fault: str, script: Script) -> OpenAI:
    """A client whose answers have a fault."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked = RecordedRequest(request.method, str(request.url), (), request.read())
        answer = script.decide(asked)
        assert answer is not None
        (one,) = read_faults(fault)
        changed = one.change(Interaction(asked, answer.response))
        return httpx2.Response(changed.status, headers=list(changed.headers), content=changed.body)

    http = httpx2.Client(transport=httpx2.MockTransport(handle), trust_env=False)
    return OpenAI(api_key="none", max_retries=0, http_client=http)


def text() -> Script:
    return Script().reply('{"name": "Ulm"}', times=2)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("finish_length", LengthFinishReasonError), ("content_filter", ContentFilterFinishReasonError)],
)
def test_the_helpers_raise_for_an_answer_that_was_cut_off(fault: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        client(fault, text()).chat.completions.parse(**CHAT, response_format=City)
    with pytest.raises(error), client(fault, text()).chat.completions.stream(**CHAT, response_format=City) as stream:
        stream.get_final_completion()


@pytest.mark.parametrize(("fault", "reason"), [("finish_length", "max_output_tokens"), ("content_filter",) * 2])
def test_a_response_is_incomplete(fault: str, reason: str) -> None:
    whole = client(fault, text()).responses.create(**RESPONSE)
    with client(fault, text()).responses.stream(**RESPONSE) as stream:
        types = [event.type for event in stream]
    *_, last = client(fault, text()).responses.create(**RESPONSE, stream=True)
    assert types[-1] == last.type == "response.incomplete"
    for response in (whole, last.response):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == reason
        assert response.output_text == '{"name": "Ulm"}'
        item: Any = response.output[0]
        assert (response.completed_at, item.status) == (None, "incomplete")


@pytest.mark.parametrize("script", [text, lambda: Script().tool_call("weather", {"city": "Ulm"})])
def test_the_sdk_reads_a_refusal(script: Any) -> None:
    message = client("refusal", script()).chat.completions.create(**CHAT).choices[0].message
    with client("refusal", script()).chat.completions.stream(**CHAT) as stream:
        streamed = stream.get_final_completion().choices[0].message
    for one in (message, streamed):
        assert (one.refusal, one.content or None, one.tool_calls or None) == (REFUSAL, None, None)

    whole = client("refusal", script()).responses.create(**RESPONSE)
    with client("refusal", script()).responses.stream(**RESPONSE) as events:
        final = events.get_final_response()
    for response in (whole, final):
        (item,) = response.output
        assert item.type == "message"
        assert [part.refusal for part in item.content if part.type == "refusal"] == [REFUSAL]
        assert not response.output_text


def test_an_empty_answer_has_no_text() -> None:
    assert client("empty_answer", text()).chat.completions.create(**CHAT).choices[0].message.content == ""
    with client("empty_answer", text()).chat.completions.stream(**CHAT) as stream:
        assert not stream.get_final_completion().choices[0].message.content
    with client("empty_answer", text()).responses.stream(**RESPONSE) as events:
        assert events.get_final_response().output == []


def test_the_sdk_reads_a_changed_tool_call() -> None:
    def calls() -> Script:
        return Script().tool_call("weather", {"city": "Ulm"})

    for fault, wanted in (
        ("broken_arguments", ("weather", '{"city"')),
        ("unknown_tool(name='fly')", ("fly", '{"city":"Ulm"}')),
    ):
        message = client(fault, calls()).chat.completions.create(**CHAT).choices[0].message
        with client(fault, calls()).chat.completions.stream(**CHAT) as stream:
            streamed = stream.get_final_completion().choices[0].message
        with client(fault, calls()).responses.stream(**RESPONSE) as events:
            (item,) = events.get_final_response().output
        for one in (message, streamed):
            assert one.tool_calls is not None
            function: Any = one.tool_calls[0]
            assert (function.function.name, function.function.arguments) == wanted
        assert item.type == "function_call"
        assert (item.name, item.arguments) == wanted


def test_the_sdk_raises_an_error_event_after_the_events_before_it() -> None:
    seen = []
    with pytest.raises(APIError, match="had an error") as caught:
        for chunk in client("error_event(after=3)", text()).chat.completions.create(**CHAT, stream=True):
            seen.append(chunk)
    assert len(seen) == 3
    assert not isinstance(caught.value, APIStatusError)

    events = list(client("error_event(after=5)", text()).responses.create(**RESPONSE, stream=True))
    assert [event.sequence_number for event in events] == list(range(6))
    assert events[-1].type == "error"
    assert events[-1].code == "server_error"


def test_the_sdk_reads_the_changed_usage_and_model() -> None:
    completion = client("no_usage", text()).chat.completions.create(**CHAT)
    assert completion.usage is None
    response = client("other_model(name='spam')", text()).responses.create(**RESPONSE)
    assert response.model == "spam"
