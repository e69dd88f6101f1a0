"""Gemini's forms: the shape of what is streamed, what is read of a request, and where they are found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.model import RecordedRequest
from aquila.errors import ConfigError
from aquila.wire_forms.answer import Answer, AnsweredCall, AnsweredError, Finish, WrittenUsage
from aquila.wire_forms.gemini.gemini_content import GeminiContent
from aquila.wire_forms.sent import SentMessage, SentToolCall
from aquila.wire_forms.table import find_wire_form, read_sent
from tests.wire_forms.samples import CONTENT, FUNCTION, GOOGLE, gemini_content, post

FORM = GeminiContent()
MODEL = f"{GOOGLE}/gemini-2.5-flash"
CLOUD = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google/models"


def whole(answer: Answer) -> Any:
    return json.loads(FORM.answer(answer, FORM.read(gemini_content(False)), 1).body)


def chunks(answer: Answer) -> list[Any]:
    """The chunks of a stream by a strict reader: one line of data each, no name and no terminator."""
    body = FORM.answer(answer, FORM.read(gemini_content(True)), 1).body.decode()
    assert body.endswith("\n\n")
    lines = body[:-2].split("\n\n")
    assert all(line.startswith("data: {") and len(line.splitlines()) == 1 for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def parts_of(*values: Any) -> list[Any]:
    return [part for each in values for part in each["candidates"][0]["content"].get("parts", [])]


TEXTS = st.text(max_size=20)


@given(
    texts=st.lists(TEXTS, max_size=4),
    thoughts=st.lists(TEXTS, max_size=3),
    calls=st.lists(st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS | st.lists(TEXTS), max_size=3), max_size=3),
)
def test_the_parts_of_a_stream_make_the_whole_answer(
    texts: list[str], thoughts: list[str], calls: list[dict[str, Any]]
) -> None:
    called = tuple(AnsweredCall("weather", json.dumps(each, ensure_ascii=False)) for each in calls)
    answer = Answer(tuple(texts), called, tuple(thoughts))
    for read in (chunks(answer), [whole(answer)]):
        parts = parts_of(*read)
        assert "".join(part["text"] for part in parts if "text" in part and not part.get("thought")) == "".join(texts)
        assert "".join(part["text"] for part in parts if part.get("thought")) == "".join(thoughts)
        assert [part["functionCall"]["args"] for part in parts if "functionCall" in part] == calls
        reasons = [each["candidates"][0].get("finishReason") for each in read]
        assert reasons == [None] * (len(read) - 1) + ["STOP"]
        assert read[-1]["usageMetadata"] == whole(answer)["usageMetadata"]
        counts = [each["usageMetadata"]["totalTokenCount"] for each in read]
        assert counts == sorted(counts)


def test_an_answer_is_one_part_for_its_thoughts_one_for_its_text_and_one_for_each_call() -> None:
    calls = (AnsweredCall("weather", '{"city":"Rome"}'), AnsweredCall("now", "", "mine"))
    answer = Answer(("It ", "is"), calls, ("H", "m"), usage=WrittenUsage(9, 7, 2, 4))
    value = whole(answer)
    first = {"id": "call_1_1", "name": "weather", "args": {"city": "Rome"}}
    assert parts_of(value) == [
        {"text": "Hm", "thought": True},
        {"text": "It is"},
        {"functionCall": first, "thoughtSignature": "c2NyaXB0ZWQ="},
        {"functionCall": {"id": "mine", "name": "now", "args": {}}},
    ]
    # Thoughts are no part of the candidate's tokens.
    counts = {name: count for name, count in value["usageMetadata"].items() if name.endswith("Count")}
    assert counts == {
        "promptTokenCount": 9,
        "candidatesTokenCount": 5,
        "totalTokenCount": 16,
        "cachedContentTokenCount": 4,
        "thoughtsTokenCount": 2,
    }
    assert [len(parts_of(chunk)) for chunk in chunks(answer)] == [1] * 6


@pytest.mark.parametrize("read", [whole, lambda answer: chunks(answer)[0]])
def test_a_refusal_is_a_prompt_that_was_blocked(read: Any) -> None:
    value = read(Answer(refusal="I can't."))
    assert value["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "I can't."}
    assert "candidates" not in value


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "STOP"),
        ("length", "MAX_TOKENS"),
        ("tool_calls", "STOP"),
        ("content_filter", "SAFETY"),
        ("refusal", "SAFETY"),
    ],
)
def test_why_an_answer_ends_is_told_in_words_of_google(finish: Finish, reason: str) -> None:
    assert whole(Answer(("It ", "is"), finish=finish))["candidates"][0]["finishReason"] == reason


def test_a_count_is_asked_for_contents_or_for_a_whole_request() -> None:
    for body in ({"contents": [CONTENT]}, {"generateContentRequest": {"contents": [CONTENT], "model": "models/m"}}):
        read = read_sent(post(f"{MODEL}:countTokens", body))
        assert [message.text for message in read.messages] == ["hi"]


def test_an_answer_of_nothing_ends_all_the_same() -> None:
    for read in (chunks(Answer(usage=False)), [whole(Answer(usage=False))]):
        (value,) = read
        assert value["candidates"] == [{"content": {"role": "model"}, "finishReason": "STOP", "index": 0}]
        assert "usageMetadata" not in value


@pytest.mark.parametrize("url", [f"{MODEL}:streamGenerateContent", f"{CLOUD}/m:streamGenerateContent?alt=json"])
def test_a_stream_that_is_not_of_events_is_an_array_whose_elements_come_one_by_one(url: str) -> None:
    sent = read_sent(post(url, {"contents": [CONTENT]}))
    response = FORM.answer(Answer(("a ", "b"), first=1.0, pace=1.0), sent, 1)
    assert [part["text"] for part in parts_of(*json.loads(response.body))] == ["a ", "b"]
    assert [chunk.at for chunk in response.chunks] == [1000, 2000, 2000]
    assert response.first_header("content-type") == "application/json"
    error = FORM.answer(Answer(error=AnsweredError(429)), sent, 1)
    assert json.loads(error.body)[0]["error"]["status"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("arguments", ['{"city": Rome}', "[1]", "null", '{"a": NaN}'])
def test_arguments_that_are_no_object_cannot_be_said(arguments: str) -> None:
    for read in (whole, chunks):
        with pytest.raises(ConfigError, match=r"arguments of weather .* Gemini generateContent"):
            read(Answer(calls=(AnsweredCall("weather", arguments),)))


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (409, "ABORTED"),
        (429, "RESOURCE_EXHAUSTED"),
        (499, "CANCELLED"),
        (500, "INTERNAL"),
        (501, "UNIMPLEMENTED"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (418, "UNKNOWN"),
    ],
)
def test_an_error_has_the_name_of_its_status(status: int, name: str) -> None:
    response = FORM.answer(Answer(error=AnsweredError(status)), FORM.read(gemini_content(True)), 1)
    error = json.loads(response.body)["error"]
    assert (error["code"], error["status"], response.status) == (status, name, status)
    assert "details" not in error


@pytest.mark.parametrize(("after", "delay"), [(47, "47s"), (1.5, "1.5s"), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
def test_an_error_tells_in_its_details_when_to_ask_again(after: Any, delay: str | None) -> None:
    error = AnsweredError(429, "Slow", type="ABORTED", code="RATE_LIMIT_EXCEEDED", retry_after=after)
    body = json.loads(FORM.answer(Answer(error=error), FORM.read(gemini_content(False)), 1).body)["error"]
    assert (body["message"], body["status"]) == ("Slow", "ABORTED")
    assert body["details"][0]["reason"] == "RATE_LIMIT_EXCEEDED"
    assert [each["retryDelay"] for each in body["details"][1:]] == ([] if delay is None else [delay])


def test_a_conversation_is_read_in_camel_case_and_in_snake_case() -> None:
    for snake in (False, True):
        body = {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"parts": [{"text": "What "}, {"inlineData": {"mimeType": "image/png", "data": ""}}, {"text": "is?"}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "Hm", "thought": True},
                        {"text": "Let me see."},
                        {"functionCall": {"name": "weather", "args": {"city": "Rome"}, "id": "c1"}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {"functionResponse": {"name": "weather", "response": {"result": "18 °C"}, "id": "c1"}},
                        {"functionResponse": {"name": "time", "response": {"hour": 12}}},
                        {"fileData": {"mimeType": "audio/mp3", "fileUri": "x"}},
                    ],
                },
            ],
            "tools": [{"functionDeclarations": [FUNCTION]}, {"googleSearch": {}}],
        }
        read = read_sent(post(f"{MODEL}:generateContent", _in_snake_case(body) if snake else body))
        assert read.messages == (
            SentMessage("system", "Be brief."),
            SentMessage("user", "What is?", parts=("image",)),
            SentMessage("assistant", "Let me see.", (SentToolCall("weather", {"city": "Rome"}, "c1"),)),
            SentMessage("tool", "18 °C", tool_call_id="c1"),
            SentMessage("tool", '{"hour": 12}'),
            SentMessage("user", parts=("audio",)),
        )
        assert (read.tools[0].name, dict(read.tools[0].parameters)) == ("weather", FUNCTION["parameters"])
        assert read.tools[1].name == ("google_search" if snake else "googleSearch")


def _in_snake_case(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_snake_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in key): _in_snake_case(each) for key, each in value.items()
    }


@pytest.mark.parametrize(
    ("url", "body", "answered"),
    [
        (f"{GOOGLE}/e:embedContent", {"content": CONTENT}, {"embedding": {"values": [0.5]}}),
        (
            f"{GOOGLE}/e:batchEmbedContents",
            {"requests": [{"content": CONTENT}, {"content": CONTENT}]},
            {"embeddings": [{"values": [0.5]}, {"values": [1.0]}]},
        ),
        (
            f"{CLOUD}/text-embedding-005:predict",
            {"instances": [{"content": "hi"}]},
            {"predictions": [{"embeddings": {"values": [0.5], "statistics": {"token_count": 3, "truncated": False}}}]},
        ),
    ],
)
def test_each_way_to_embed_is_answered_in_its_own_form(url: str, body: Any, answered: Any) -> None:
    sent = read_sent(post(url, body))
    form = find_wire_form(sent.http)
    assert form is not None
    assert {message.text for message in sent.messages} == {"hi"}
    value = json.loads(form.answer(Answer(vectors=((0.5,), (1.0,)), usage=WrittenUsage(3, 0)), sent, 1).body)
    assert value.pop("usageMetadata", {"promptTokenCount": 3}) == {"promptTokenCount": 3}
    assert value == answered


TUNED = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints"
GOOGLE_KEY = (("x-goog-api-client", "gl-python"),)


@pytest.mark.parametrize(
    ("method", "url", "headers", "name", "model"),
    [
        ("POST", f"{GOOGLE}/gemini-a:generateContent?key=none", (), "Gemini generateContent", "gemini-a"),
        ("POST", f"{CLOUD}/gemini-a%40x:streamGenerateContent", (), "Gemini generateContent", "gemini-a@x"),
        (
            "POST",
            "https://x.googleapis.com/v1/projects/p/locations/l/endpoints/7:generateContent",
            (),
            "Gemini generateContent",
            "7",
        ),
        ("POST", f"{GOOGLE}/gemini-a:countTokens", (), "Gemini count of tokens", "gemini-a"),
        ("POST", f"{GOOGLE}/gemini-a:generateAnswer", (), None, ""),
        ("POST", f"{CLOUD}/imagen-4:predict", (), None, ""),
        ("GET", f"{GOOGLE}?pageSize=50", (), "Gemini models", ""),
        ("GET", f"{GOOGLE}/gemini-a", (), "Gemini models", "gemini-a"),
        ("GET", f"{CLOUD}/gemini-a", (), "Gemini models", "gemini-a"),
        ("GET", "https://generativelanguage.googleapis.com/v1/models", GOOGLE_KEY, "Gemini models", ""),
        ("GET", "https://generativelanguage.googleapis.com/v1/models", (), "OpenAI models", ""),
        ("GET", "https://generativelanguage.googleapis.com/v1beta/openai/models", GOOGLE_KEY, "OpenAI models", ""),
    ],
)
def test_a_request_is_found_by_its_path(method: str, url: str, headers: Any, name: str | None, model: str) -> None:
    request = RecordedRequest(method, url, headers, json.dumps({"contents": [CONTENT]}).encode())
    form = find_wire_form(request)
    assert (form.name if form is not None else None) == name
    assert read_sent(request).model == model


@pytest.mark.parametrize(
    ("url", "key", "prefix"), [(GOOGLE, "models", "models/"), (CLOUD, "publisherModels", "publishers/google/models/")]
)
def test_models_are_listed_and_told_of_one_by_one(url: str, key: str, prefix: str) -> None:
    answer = Answer(models=("gemini-a", "gemini-b"))

    def get(url: str) -> Any:
        request = RecordedRequest("GET", url)
        form = find_wire_form(request)
        assert form is not None
        return json.loads(form.answer(answer, form.read(request), 1).body)

    assert [model["name"] for model in get(url)[key]] == [f"{prefix}gemini-a", f"{prefix}gemini-b"]
    assert get(f"{url}/gemini-b")["name"] == f"{prefix}gemini-b"
    assert get(f"{url}/gemini-c")["error"]["status"] == "NOT_FOUND"
