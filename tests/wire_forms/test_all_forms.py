"""The promises of every wire form. ``samples.py`` has a request in each."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.amazon_frames import read_frames
from aquila.cassettes.answers.answer_text import text_of_answer
from aquila.cassettes.model import RecordedRequest
from aquila.verifying.answers import AnswerText, find_error, read_answer_text, read_values
from aquila.wire_forms.answer import FINISHES, Answer, AnsweredCall, AnsweredError, WrittenUsage, split_text
from aquila.wire_forms.form import WireForm
from aquila.wire_forms.table import WIRE_FORMS, find_wire_form, read_sent
from tests.docs.snippets import REPOSITORY
from tests.support.slow import slow_but
from tests.wire_forms.samples import AFTER_A_CALL, SAMPLES

PAGE = REPOSITORY / "docs" / "scripts.md"

ALL = pytest.mark.parametrize("form", WIRE_FORMS, ids=lambda form: form.name)
MESSAGE_FORMS = [form for form in WIRE_FORMS if form.kind == "message"]
MESSAGES = pytest.mark.parametrize("form", MESSAGE_FORMS, ids=lambda form: form.name)
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])

KEYS = [
    *("args", "arguments", "call_id", "content", "contents", "custom", "dimensions", "done"),
    *("encoding_format", "fileData", "function", "functionCall", "functionDeclarations", "functionResponse"),
    *("function_call", "functions", "generationConfig", "id", "image_url", "images", "include_usage", "inlineData"),
    *("input", "inputSchema", "instructions", "json", "logprobs", "messages", "model", "n", "name", "output"),
    *("parameters", "parts", "prompt", "reasoningContent", "role", "source", "stream", "stream_options", "suffix"),
    *("summary", "system", "systemInstruction", "text", "thinking", "toolConfig", "toolResult", "toolSpec"),
    *("toolUse", "tool_call_id", "tool_calls", "tool_result", "tool_use", "tools", "top_logprobs", "type"),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(KEYS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.text(max_size=8)
"""Short ones, because only the first 2,000 characters of an answer are shown."""
JSON_OBJECTS = st.dictionaries(WORDS, st.none() | st.booleans() | st.integers() | WORDS, max_size=3)


def write(form: WireForm, answer: Answer, *, streamed: bool = False, number: int = 1) -> bytes:
    """The body of an answer to the sample request of a form."""
    sent = form.read(SAMPLES[form.name](streamed))
    return form.answer(answer, sent, number).body


def said_by(body: bytes) -> AnswerText:
    """Read an answer as ``--aquila-verify`` does."""
    return read_answer_text(body)


@ALL
@BOTH
def test_a_usual_request_is_found_to_be_in_its_form_and_is_read(form: WireForm, streamed: bool) -> None:
    request = SAMPLES[form.name](streamed)
    sent = read_sent(request)
    assert find_wire_form(request) is form
    assert (sent.form, sent.http) == (form.name, request)
    if form.kind not in ("models", "stored"):
        assert sent.text.strip() == "hi"
        assert sent.model
    if form.kind == "message":
        assert sent.is_streamed is streamed
        assert [message.role for message in sent.messages] == ["user"]


@pytest.mark.parametrize("form", [form for form in MESSAGE_FORMS if form.has_tools], ids=lambda form: form.name)
def test_a_tool_call_and_its_result_are_read_from_a_conversation(form: WireForm) -> None:
    field, messages = AFTER_A_CALL[form.name]
    body = _sample_body(form)
    sent = form.read(
        replace(SAMPLES[form.name](False), body=json.dumps({**body, field: body[field] + messages}).encode())
    )
    user, assistant, tool = sent.messages
    (call,) = assistant.tool_calls
    assert (user.role, assistant.role, tool.role) == ("user", "assistant", "tool")
    assert (call.name, call.arguments) == ("weather", {"city": "Rome"})
    assert call.id == tool.tool_call_id
    assert "Sunny." in tool.text


@ALL
@given(raw=VALUES)
def test_no_body_is_too_odd_to_be_read_and_answered(form: WireForm, raw: Any) -> None:
    check_is_answered(form, json.dumps(raw).encode())
    check_is_answered(form, json.dumps({**_sample_body(form), **(raw if isinstance(raw, dict) else {})}).encode())


@ALL
def test_no_body_is_too_deep_or_too_broken_to_be_read_and_answered(form: WireForm) -> None:
    deep = "[" * 900 + "]" * 900
    for key in KEYS:
        check_is_answered(form, f'{{"{key}": {deep}}}'.encode())
    for body in (b"", b"\xff", b"{", b"9" * 5000, b"[" * 100_000, b"null", b'"\\ud800"'):
        check_is_answered(form, body)


@ALL
@pytest.mark.parametrize("number", slow_but([b"NaN", b"1e999"], [b"NaN", b"-Infinity", b"1e999"]))
def test_a_number_that_json_cannot_hold_is_read_as_none_and_answered(form: WireForm, number: bytes) -> None:
    for key in (*KEYS, "metadata", "temperature"):
        check_is_answered(form, b'{"model": "m", "%s": {"a": %s}, "top_p": %s}' % (key.encode(), number, number))
    content = [{"toolResult": {"toolUseId": "t", "content": [{"json": 0}]}}]
    body = json.dumps({**_sample_body(form), "messages": [{"role": "user", "content": content}]}).encode()
    check_is_answered(form, body.replace(b'"json": 0', b'"json": ' + number))


def check_is_answered(form: WireForm, body: bytes) -> None:
    sent = form.read(replace(SAMPLES[form.name](False), body=body))
    assert all(isinstance(value, str) for value in (sent.text, sent.model))
    for message in sent.messages:
        assert all(isinstance(value, str) for value in (message.role, message.text, message.tool_call_id or ""))
        assert all(isinstance(value, str) for call in message.tool_calls for value in (call.name, call.id or ""))
    assert all(isinstance(value, str) for tool in sent.tools for value in (tool.name, tool.description))
    form.answer(answer_for(form), sent, 1)


def answer_for(form: WireForm) -> Answer:
    """An answer that a form can write."""
    calls = (AnsweredCall("weather"),) if form.has_tools else ()
    return {
        "message": Answer(texts=("Hi", "!"), calls=calls),
        "stored": Answer(texts=("Hi", "!")),
        "embeddings": Answer(vectors=((0.5, 1.0),)),
        "models": Answer(models=("gpt-4.1",)),
        "token_count": Answer(token_count=7),
    }[form.kind]


def _sample_body(form: WireForm) -> dict[str, Any]:
    body = SAMPLES[form.name](True).body
    return dict(json.loads(body)) if body else {}


@MESSAGES
@BOTH
@given(
    texts=st.lists(WORDS.filter(bool), max_size=4),
    calls=st.lists(st.tuples(st.sampled_from(["weather", "time"]), JSON_OBJECTS), max_size=3),
)
def test_an_answer_is_read_as_it_was_written(
    form: WireForm, streamed: bool, texts: list[str], calls: list[tuple[str, dict[str, Any]]]
) -> None:
    calls = calls if form.has_tools else []
    answered = tuple(AnsweredCall(name, json.dumps(arguments)) for name, arguments in calls)
    body = write(form, Answer(texts=tuple(texts), calls=answered), streamed=streamed)
    said = said_by(body)
    assert said.text == "".join(texts)
    assert [(name, json.loads(arguments)) for name, arguments in said.calls] == calls
    assert len(said.finish) == 1
    shown = text_of_answer(body)
    assert shown.startswith("".join(texts).lstrip("\n") + "\n" * bool(calls)) or not "".join(texts).strip("\n")
    assert [line.partition("(")[0] for line in shown.split("\n")[len(shown.split("\n")) - len(calls) :]] == [
        name for name, _ in calls
    ]


@MESSAGES
def test_how_an_answer_ends_is_told_in_the_same_words_whole_and_streamed(form: WireForm) -> None:
    for finish in FINISHES:
        calls = (AnsweredCall("weather"),) if finish == "tool_calls" and form.has_tools else ()
        answer = Answer(texts=("It rains",), calls=calls, finish=finish)
        assert said_by(write(form, answer, streamed=True)).finish == said_by(write(form, answer)).finish != ()


@MESSAGES
@BOTH
def test_half_surrogate_pairs_and_line_separators_can_be_written(form: WireForm, streamed: bool) -> None:
    calls = (AnsweredCall("weather", '{"a":"\udc00\u2028"}'),) if form.has_tools else ()
    answer = Answer(("a\ud83d", "b\x85\u2028\u2029", "\ude00"), calls)
    body = write(form, answer, streamed=streamed)
    if not body.startswith(b"\0"):  # frames have no lines
        assert len(body.decode().splitlines()) == len(body.split(b"\n")) - body.endswith(b"\n")
    said = said_by(body)
    assert said.text == "a\ufffdb\x85\u2028\u2029\ufffd"
    assert [json.loads(arguments) for _, arguments in said.calls] == [{"a": "\ufffd\u2028"}] * len(calls)


@MESSAGES
@BOTH
def test_a_refusal_is_read_as_text(form: WireForm, streamed: bool) -> None:
    body = write(form, Answer(refusal="I can't do that."), streamed=streamed)
    assert said_by(body).text == "I can't do that."
    assert text_of_answer(body) == "I can't do that."


@MESSAGES
@BOTH
def test_thoughts_are_written_and_are_no_text(form: WireForm, streamed: bool) -> None:
    body = write(form, Answer(reasoning=split_text("Hmm, rain."), texts=("Yes",)), streamed=streamed)
    assert said_by(body).text == text_of_answer(body) == "Yes"
    assert "Hmm" in json.dumps(read_values(body)[1]) or form.name == "OpenAI completions"  # which has no place for it


@pytest.mark.parametrize("form", [form for form in MESSAGE_FORMS if form.has_tools], ids=lambda form: form.name)
def test_answers_bear_different_ids_and_their_calls_too(form: WireForm) -> None:
    answer = Answer(calls=(AnsweredCall("weather"), AnsweredCall("weather")))
    for streamed in (False, True):
        assert write(form, answer, streamed=streamed, number=1) != write(form, answer, streamed=streamed, number=2)


@MESSAGES
@BOTH
def test_the_usage_is_in_the_answer_as_it_was_written(form: WireForm, streamed: bool) -> None:
    request = SAMPLES[form.name](streamed)
    raw = {**json.loads(request.body), "stream_options": {"include_usage": True}}
    sent = form.read(replace(request, body=json.dumps(raw).encode()))
    body = form.answer(Answer(texts=("Hi",), usage=WrittenUsage(1234, 567)), sent, 1).body
    shown = json.dumps(read_values(body)[1])
    assert "1234" in shown
    assert "567" in shown


@MESSAGES
@BOTH
def test_every_piece_that_comes_alone_is_whole_and_those_with_content_are_as_many_as_written(
    form: WireForm, streamed: bool
) -> None:
    sent = form.read(SAMPLES[form.name](streamed))
    answer = Answer(texts=("one ", "two ", "three"), first=1.0, pace=0.5)
    response = form.answer(answer, sent, 1)
    if not streamed:
        assert (response.started, response.ended, len(response.chunks)) == (2000, 2000, 1)
        return
    times = sorted({chunk.at for chunk in response.chunks})
    assert times == [0, 1000, 1500, 2000] or times == [1000, 1500, 2000]
    assert response.started == 0
    assert response.ended == 2000
    assert all(_is_whole(chunk.data) for chunk in response.chunks)


def _is_whole(data: bytes) -> bool:
    if data.startswith(b"\0"):
        return [(frame.end, frame.size) for frame in read_frames(data)] == [(len(data), len(data))]
    return data.endswith((b"\n\n", b"\n"))


STATUSES = (400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 504, 529, 599)


@ALL
@BOTH
def test_an_error_has_its_status_and_says_what_it_is(form: WireForm, streamed: bool) -> None:
    sent = form.read(SAMPLES[form.name](streamed))
    for status in STATUSES:
        error = AnsweredError(status, "Too bad", retry_after=1.5, headers=(("x-own", "1"),))
        response = form.answer(Answer(error=error), sent, 1)
        assert response.status == status
        assert response.first_header("retry-after") == "1.5"
        assert response.first_header("x-own") == "1"
        assert response.first_header("content-type") == "application/json"
        found = find_error(read_values(response.body)[1])
        assert found is not None
        assert found["message"] == "Too bad"
        assert find_error(read_values(form.answer(Answer(error=AnsweredError(status)), sent, 1).body)[1])["message"]


@ALL
def test_a_header_that_was_written_stands_in_place_of_a_usual_one(form: WireForm) -> None:
    sent = form.read(SAMPLES[form.name](False))
    own = (("x-own", "1"), ("content-type", "text/plain"), ("x-request-id", "mine"), ("retry-after", "9"))
    error = AnsweredError(429, retry_after=1, headers=own)
    for answer in (replace(answer_for(form), headers=own), Answer(error=error)):
        headers = form.answer(answer, sent, 1).headers
        assert [field for field in headers if field[0] in dict(own)] == [*own]


@ALL
def test_a_form_answers_only_its_own_requests(form: WireForm) -> None:
    request = SAMPLES[form.name](False)
    address, mark, query = request.url.partition("?")
    for method, suffix in product(("GET", "POST", "DELETE", "PUT"), ("/more", "/x/cancel", "x", "")):
        other = RecordedRequest(method, f"{address}{suffix}{mark}{query}", request.headers, request.body)
        own = method == request.method and (not suffix or form.kind == "models")
        own = own or (method == "GET" and suffix == "x" and form.kind == "stored")
        if not own:
            assert find_wire_form(other) is not form


def test_every_form_has_a_name_of_its_own_and_a_usual_request_and_is_on_the_page_of_scripts() -> None:
    names = [form.name for form in WIRE_FORMS]
    assert sorted(SAMPLES) == sorted(set(names))
    assert len(names) == len(set(names))
    table = PAGE.read_text(encoding="utf-8").partition("## Which requests it answers")[2].partition("\n## ")[0]
    paths = {name: urlsplit(make(False).url).path.partition("/resp_")[0] for name, make in SAMPLES.items()}
    ends = {name: re.split("[/:]", path)[-1] for name, path in paths.items()}
    missing = [name for name, end in ends.items() if re.search(rf"[/:]{end}\b", table) is None]
    assert missing == [], "the table of forms in docs/scripts.md"


@pytest.mark.parametrize("url", ["https://[::1/v1/chat/completions", "", "x", "https://api.openai.com/v1/files"])
def test_other_requests_are_in_no_form_and_keep_their_body(url: str) -> None:
    sent = read_sent(RecordedRequest("POST", url, (), b'{"a": 1}'))
    assert (sent.form, sent.raw) == ("", {"a": 1})
