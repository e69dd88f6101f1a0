"""Which written answer a request gets."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from aquila.cassettes.model import RecordedRequest
from aquila.errors import ConfigError
from aquila.scripting.script import _ADVICE, Script
from aquila.scripting.script_file import read_script

CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"


def ask(script: Script, text: str = "hi", url: str = CHAT, **fields: Any) -> Any:
    """What the script answers to a chat request: the body's value, or None."""
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": text}], **fields}
    answer = script.decide(RecordedRequest("POST", url, (), json.dumps(body).encode()))
    return None if answer is None else json.loads(answer.response.body)


def said(answer: Any) -> Any:
    return answer["choices"][0]["message"]["content"]


def test_each_answer_is_given_once_in_the_order_of_writing() -> None:
    script = Script().reply("one").reply("two", times=2)
    assert [said(ask(script)) for _ in range(3)] == ["one", "two", "two"]
    assert ask(script) is None
    assert [request.messages[-1].text for request in script.requests] == ["hi"] * 4


def test_answers_by_content_come_before_the_others_and_the_last_one_repeats() -> None:
    script = Script().reply("queued")
    script.when("SUMMARISE", model="gpt-*").reply("first").reply("last")
    assert [said(ask(script, "please summarise")) for _ in range(3)] == ["first", "last", "last"]
    assert said(ask(script, "please summarise", model="other")) == "queued"


def test_only_a_star_is_special_in_the_name_of_a_model_or_a_tool() -> None:
    tools = [{"type": "function", "function": {"name": "find"}}]
    script = Script()
    script.when(model="org/[eu]*").reply("model")
    script.when(tool="fin?").reply("tool")
    assert said(ask(script, model="org/[eu]-1", tools=tools)) == "model"
    assert ask(script, model="org/e1", tools=tools) is None


def test_the_first_of_several_matching_rules_answers() -> None:
    script = Script()
    script.when(re.compile(r"\d")).reply("number")
    script.when("a1").reply("text")
    assert said(ask(script, "a1")) == "number"


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({"last": "hi"}, True),
        ({"last": "be brief"}, False),
        ({"system": "be brief"}, True),
        ({"system": "be kind"}, True),  # from the developer
        ({"system": "hi"}, False),
        ({"tool": "get_*"}, True),
        ({"tool": "set_*"}, False),
        ({"where": lambda sent: len(sent.messages) == 3}, True),
        ({"text": "hi", "model": "claude-*"}, False),
    ],
)
def test_all_conditions_of_a_rule_must_hold(conditions: dict[str, Any], matches: bool) -> None:
    script = Script()
    script.when(**conditions).reply("yes")
    said = {"system": "Be brief.", "developer": "Be kind.", "user": "hi"}
    messages = [{"role": role, "content": text} for role, text in said.items()]
    tools = [{"type": "function", "function": {"name": "get_weather"}}]
    assert (ask(script, messages=messages, tools=tools) is not None) is matches


def test_a_retry_after_the_last_failure_gets_it_again() -> None:
    script = Script().error(429)
    assert [ask(script)["error"]["code"] for _ in range(3)] == ["rate_limit_exceeded"] * 3
    assert ask(script, "something else") is None


def test_reasoning_belongs_to_the_answer_that_follows_it() -> None:
    script = Script().reasoning("Let me think.").reply("4").reasoning("Only thought.")
    message = ask(script)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Let me think.", "4")
    message = ask(script)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Only thought.", None)
    script.reasoning("First.")
    script.when("what").reasoning("Then.")
    assert script.left == ['reasoning("First.")', 'when("what").reasoning("Then.")']


def test_unused_answers_are_listed_as_the_calls_that_wrote_them() -> None:
    script = Script().reply("Hello").tool_call("weather", city="Rome").error(503).embed([0.5])
    script.when("x", model="m").refuse("no")
    written = ['reply("Hello")', "tool_call(weather)", "error(503)", "embed() with 1 vector"]
    assert script.left == [*written, 'when("x", model="m").refuse("no")']


def test_an_explanation_shows_the_request_and_why_each_answer_did_not_fit() -> None:
    script = Script().embed([1.0])
    script.when("summarise").reply("x")
    assert ask(script, "Weather in Rome?") is None
    text = script.explain(script.requests[-1].http)
    assert "user       Weather in Rome?" in text
    assert "embed() with 1 vector: does not answer a request for a message" in text
    assert 'when("summarise"): no message holds the text' in text


@pytest.mark.parametrize(
    ("path", "body", "advice"),
    [
        ("chat/completions", {"messages": []}, 'aquila_script.reply("...") to the test, or `- reply: ...`'),
        ("embeddings", {"input": "x"}, "aquila_script.embed([0.1, 0.2]) to the test, or `- embed: [[0.1, 0.2]]`"),
        ("models", None, 'aquila_script.models("...") to the test, or `- models: [...]`'),
        ("responses/input_tokens", {"input": "x"}, "aquila_script.token_count(12) to the test, or `- token_count: 12`"),
        ("rerank", {"query": "x"}, "To record it, give the test the fixture aquila_cassette beside aquila_script."),
    ],
)
def test_an_explanation_says_what_to_type(path: str, body: Any, advice: str) -> None:
    request = RecordedRequest(
        "GET" if body is None else "POST", f"https://api.openai.com/v1/{path}", (), json.dumps(body).encode()
    )
    assert advice in Script().explain(request)


@pytest.mark.parametrize("kind", _ADVICE)
def test_each_row_that_is_suggested_is_valid_in_a_script_file(kind: str) -> None:
    assert read_script(f"script:\n- {_ADVICE[kind][1]}\n".encode(), source="x.script.yaml").left


def test_a_response_that_the_provider_stores_can_be_retrieved() -> None:
    responses = "https://api.openai.com/v1/responses"
    script = Script().reply("kept").reply("not kept").error(500).reply("last")
    first, second = ask(script, url=responses), ask(script, url=responses, store=False)

    def get(identity: str, *, method: str = "GET", more: str = "") -> Any:
        answer = script.decide(RecordedRequest(method, f"{responses}/{identity}{more}"))
        return None if answer is None else json.loads(answer.response.body)

    assert get(first["id"]) == get(first["id"], method="POST", more="/cancel") == first
    assert get(second["id"]) is get("resp_scripted_9") is get("resp_of_another") is None
    assert get("resp_scripted_3") is None
    assert script.left == ["error(500)", 'reply("last")']
    peeked = script.peek(RecordedRequest("GET", f"{responses}/{first['id']}"))
    assert peeked is not None
    assert json.loads(peeked.body) == first
    missed = script.explain(RecordedRequest("GET", f"{responses}/resp_x"))
    assert 'reply("last"): does not answer a request for an answer that was given before' in missed


def test_a_tool_call_is_never_given_to_a_wire_form_without_tools() -> None:
    script = Script().tool_call("weather").reply("Rome")
    completions = "https://api.openai.com/v1/completions"
    assert ask(script, url=completions)["choices"][0]["text"] == "Rome"
    assert ask(script, url=completions) is None
    assert "tool_call(weather): OpenAI completions have no calls of tools" in script.explain(script.requests[-1].http)


@pytest.mark.parametrize(
    "write",
    [
        lambda script: script.reply(),
        lambda script: script.reply("a", json={}),
        lambda script: script.reply(json={1, 2}),
        lambda script: script.reply(5),
        lambda script: script.reply(chunks=[b"a"]),
        lambda script: script.reply("a", finish="end"),
        lambda script: script.reply("a", usage=(1,)),
        lambda script: script.reply("a", pace=-1),
        lambda script: script.reply("a", times=0),
        lambda script: script.reply("a", times=100_000_000),
        lambda script: script.tool_call("f", {}, x=1),
        lambda script: script.tool_calls("f"),
        lambda script: script.tool_calls(),
        lambda script: script.tool_calls(("f", ["x"])),
        lambda script: script.tool_calls(("f", None)),
        lambda script: script.tool_calls(("f", {}, 5)),
        lambda script: script.reply(tool_calls=5),
        lambda script: script.embed(),
        lambda script: script.embed(0.1, 0.2),
        lambda script: script.embed([]),
        lambda script: script.error(200),
        lambda script: script.models(),
        lambda script: script.when(),
        lambda script: script.when(5),
        lambda script: script.when(model=5),
        lambda script: script.when(where="x"),
        lambda script: script.reply("a", model=5),
        lambda script: script.reply("a", reasoning=5),
        lambda script: script.reply("a", headers=["x"]),
        lambda script: script.reply("a", headers={"a b": "x"}),
        lambda script: script.reply("a", headers={1: "x"}),
        lambda script: script.reply("a", headers={"a": None}),
        lambda script: script.reply("a", headers={"a": "x\ny: z"}),
        lambda script: script.reply("a", headers={"a": "ü"}),
        lambda script: script.error(429, retry_after="soon\n"),
        lambda script: script.reply(chunks="abc"),
        lambda script: script.reply(chunks=5),
        lambda script: script.refuse(5),
        lambda script: script.reasoning(5),
        lambda script: script.models("a", 2),
        lambda script: script.token_count("many"),
        lambda script: script.error(429, 5),
        lambda script: script.error(429, code=5),
        lambda script: script.error(429, retry_after=[1]),
    ],
)
def test_invalid_answers_are_refused_when_they_are_written(write: Any) -> None:
    with pytest.raises(ConfigError):
        write(Script())


def test_an_answer_replaced_by_a_fault_is_kept_for_its_request_if_the_program_may_continue() -> None:
    def request(text: str) -> RecordedRequest:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        return RecordedRequest("POST", CHAT, (), json.dumps(body).encode())

    first, second = request("first"), request("second")

    def answers(*requests: RecordedRequest) -> list[Any]:
        found = [script.decide(request) for request in requests]
        return [None if each is None else said(json.loads(each.response.body)) for each in found]

    script = Script().reply("one").reply("two")
    script.note_fault(first, gives="answer")
    script.note_fault(first, gives="answer")
    assert answers(second, first, first) == ["two", "one", None]
    assert not script.left

    script = Script().reply("one").reply("two")
    script.note_fault(first, gives="nothing")
    assert answers(second, first) == ["one", "two"]

    script = Script()
    script.when("first").reply("one").reply("two")
    script.note_fault(first, gives="answer")
    assert answers(first, first) == ["one", "two"]

    script = Script().reply("one").reply("two").reply("three")
    assert answers(first) == ["one"]
    script.note_fault(first, gives="answer")
    assert answers(first, first, first) == ["two", "three", None]


def test_an_answer_under_a_fault_has_an_id_of_its_own_and_can_be_retrieved() -> None:
    first, second = (
        RecordedRequest("POST", RESPONSES, (), json.dumps({"model": "m", "input": text}).encode()) for text in "ab"
    )
    script = Script().reply("one").reply("two")
    seen = []
    for request in (first, second):
        under_fault = script.peek(request)
        assert under_fault is not None
        script.note_fault(request, gives="answer")
        seen.append(json.loads(under_fault.body)["id"])
    assert len(set(seen)) == 2
    for name, text in zip(seen, ["one", "two"], strict=True):
        again = script.decide(RecordedRequest("GET", f"{RESPONSES}/{name}", (), b""))
        assert again is not None
        assert json.loads(again.response.body)["output"][0]["content"][0]["text"] == text
    assert "the script has no answers any more" in script.explain(first)


def test_unused_takes_one_of_three_words_or_none() -> None:
    script = Script()
    for word in ("fail", "warn", "ignore", None):
        script.unused = word  # type: ignore[assignment]
        assert script.unused == word
    with pytest.raises(ConfigError, match="unused = 'ignor' of a script; did you mean 'ignore'"):
        script.unused = "ignor"  # type: ignore[assignment]
    assert script.unused is None


def test_a_failure_is_repeated_only_until_its_request_succeeds() -> None:
    script = Script().error(429)
    assert ask(script)["error"]["code"] == "rate_limit_exceeded"
    script.reply("one")
    assert said(ask(script)) == "one"
    assert ask(script) is None


def test_a_failure_before_other_answers_is_given_once() -> None:
    script = Script().error(429).reply("one")
    assert ask(script, "first")["error"]["code"] == "rate_limit_exceeded"
    assert said(ask(script, "second")) == "one"
    assert ask(script, "first") is None


def test_a_look_at_the_next_answer_does_not_use_it_up() -> None:
    script = Script().reply("queued")
    script.when("hello").reply("one").reply("two")

    def peek(text: str) -> Any:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        seen = script.peek(RecordedRequest("POST", CHAT, (), json.dumps(body).encode()))
        assert seen is not None
        return said(json.loads(seen.body))

    assert [peek("hello"), peek("hello"), peek("bye"), peek("bye")] == ["one", "one", "queued", "queued"]
    assert not script.requests
    assert [said(ask(script, "hello")), peek("hello"), said(ask(script, "bye"))] == ["one", "two", "queued"]


def test_a_rule_does_not_answer_a_request_of_another_kind() -> None:
    script = Script()
    script.when("hi").embed([0.5])
    assert ask(script) is None
    assert "its next answer is for another kind of request" in script.explain(script.requests[-1].http)


def test_a_fault_uses_up_one_of_several_equal_answers() -> None:
    script = Script().reply("one", times=3)
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hi"}]}
    script.note_fault(RecordedRequest("POST", CHAT, (), json.dumps(body).encode()), gives="nothing")
    assert script.left == ['reply("one")'] * 2
    assert said(ask(script)) == "one"
    assert script.left == ['reply("one")'] * 2
