"""Messages and content: every way to write them, and that nothing is lost on the way."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx2
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aquila
from aquila.content import Audio, File, Image, Text, part_from
from aquila.engine.endpoints import chat, responses
from aquila.errors import InvalidMessage
from aquila.messages import AssistantToolCall, Message, message_from, messages_from_prompt, part_to_dict
from tests.support.engines import Engine
from tests.support.provider import STREAMS, chat_chunk, chat_stream, message_item, responses_stream
from tests.support.server import serving, sse

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 8
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.text("abcdefgh_", min_size=1, max_size=8)
parts = st.one_of(
    st.builds(Text, texts),
    st.builds(Image, words.map("https://example.org/{}".format), st.sampled_from([None, "low", "high"])),
    st.builds(File, filename=words, data=words.map("data:text/plain;base64,{}".format)),
    st.builds(File, file_id=words),
    st.builds(Audio, words, st.sampled_from(["wav", "mp3"])),
)
contents = texts | st.lists(parts, min_size=1, max_size=3).map(tuple)
calls = st.builds(AssistantToolCall, words, words, st.sampled_from(["{}", '{"a": 1}', "", "{broken"]))
extras = st.dictionaries(words, texts.filter(bool), max_size=2)
messages = st.one_of(
    st.builds(Message, st.sampled_from(["system", "developer", "user"]), contents, st.none() | words),
    st.builds(
        Message, st.just("assistant"), texts, st.none(), st.lists(calls, max_size=2).map(tuple), st.none(), extras
    ),
    st.builds(Message, st.just("tool"), texts, st.none(), st.just(()), words),
)


@given(messages)
def test_message_survives_conversion_to_its_neutral_form(each: Message) -> None:
    assert message_from(json.loads(json.dumps(each.to_dict()))) == each


@given(messages)
def test_message_survives_conversion_to_the_chat_api(each: Message) -> None:
    back = message_from(json.loads(json.dumps(chat.message_to_wire(each))))
    kept = {key: value for key, value in each.extra.items() if key not in chat.NOT_SENT}
    assert (back.role, back.content, back.name, back.calls, back.call_id) == (
        each.role,
        each.content,
        each.name,
        each.calls,
        each.call_id,
    )
    assert back.extra == kept


@given(st.lists(messages.filter(lambda each: each.name is None), max_size=5))
def test_conversation_survives_conversion_to_the_responses_api(given: list[Message]) -> None:
    items = json.loads(json.dumps([item for each in given for item in responses.message_to_wire(each)]))
    back = from_items(items)
    plain = [as_far_as_it_goes(each) for each in given]
    merged: list[Message] = []
    for each in plain:
        # An item of a call belongs to the assistant's message before it, where there is one.
        last = merged[-1] if merged else None
        if each.role == "assistant" and each.calls and not each.text and last and last.role == "assistant":
            merged[-1] = Message("assistant", last.content, None, (*last.calls, *each.calls))
        else:
            merged.append(each)
    assert back == merged


def from_items(items: list[dict[str, Any]]) -> list[Message]:
    """The messages that input items of the Responses API stand for."""
    found: list[Message] = []
    for item in items:
        match item:
            case {"type": "function_call_output", "call_id": call_id, "output": output}:
                found.append(Message("tool", output, call_id=call_id))
            case {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}:
                last = found.pop() if found and found[-1].role == "assistant" else Message("assistant")
                found.append(
                    Message("assistant", last.content, calls=(*last.calls, AssistantToolCall(id, name, arguments)))
                )
            case {"role": "assistant", "content": [{"type": "output_text", "text": text}]}:
                found.append(Message("assistant", text))
            case {"role": role, "content": content}:
                found.append(message_from((role, content)))
    return found


def as_far_as_it_goes(each: Message) -> Message:
    """A message without what the Responses API has no place for: "auto" is the detail of an image without one."""
    content = each.content
    if not isinstance(content, str):
        content = tuple(Image(p.url, p.detail or "auto") if isinstance(p, Image) else p for p in content)
    return Message(each.role, content, None, each.calls, each.call_id)


@given(parts)
def test_part_survives_conversion_to_either_api(part: Any) -> None:
    assert part_from(json.loads(json.dumps(part_to_dict(part)))) == part
    wire = json.loads(json.dumps(responses.part_to_wire(part)))
    back = part_from(wire)
    assert back == part or (isinstance(part, Image) and part.detail is None and back == Image(part.url, "auto"))


@pytest.mark.parametrize(
    "prompt",
    [
        "Hi",
        Message("user", "Hi"),
        {"role": "user", "content": "Hi"},
        ("user", "Hi"),
        ["Hi"],
        [("user", "Hi")],
        ({"role": "user", "content": "Hi"} for _ in range(1)),
    ],
    ids=["text", "message", "dict", "pair", "list", "pairs", "generator"],
)
def test_every_way_to_write_a_message_is_the_same_message(prompt: Any) -> None:
    assert messages_from_prompt(prompt) == (Message("user", "Hi"),)


def test_parts_can_be_content_alone_and_in_lists() -> None:
    picture = aquila.image_url("https://example.org/x.png", detail="low")
    assert messages_from_prompt(["What is this?", picture]) == (
        Message("user", "What is this?"),
        Message("user", (picture,)),
    )
    assert messages_from_prompt(("user", ["What is this?", picture])) == (
        Message("user", (Text("What is this?"), picture)),
    )
    as_it_is_written: Any = ["What is this?", picture]
    assert Message("user", as_it_is_written) == Message("user", (Text("What is this?"), picture))
    assert message_from({"type": "text", "text": "Hi"}) == Message("user", (Text("Hi"),))
    assert Message("user", (Text("a"), picture, Text("b"))).text == "ab"


def test_arguments_of_a_tool_call_that_are_an_object_become_its_json() -> None:
    call = {"id": "call_1", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    (read,) = message_from({"role": "assistant", "tool_calls": [call]}).calls
    assert read == AssistantToolCall("call_1", "weather", '{"city": "Ulm"}')


def test_the_url_object_of_a_client_becomes_text() -> None:
    url: Any = httpx2.URL("https://example.org/x.png")
    assert [type(part.url) for part in (aquila.image_url(url), aquila.file(url=url))] == [str, str]


def test_files_become_parts(tmp_path: Path) -> None:
    encoded = base64.b64encode(PNG).decode()
    (tmp_path / "x.png").write_bytes(PNG)
    (tmp_path / "x.pdf").write_bytes(b"%PDF")
    (tmp_path / "x.wav").write_bytes(b"RIFF1234WAVE")
    assert aquila.image(tmp_path / "x.png") == Image(f"data:image/png;base64,{encoded}")
    assert aquila.image(PNG, detail="high") == Image(f"data:image/png;base64,{encoded}", "high")
    assert aquila.image(b"?", media_type="image/webp").url.startswith("data:image/webp;")
    assert aquila.file(tmp_path / "x.pdf") == File("x.pdf", "data:application/pdf;base64,JVBERg==")
    assert aquila.file(b"%PDF", filename="y.pdf").filename == "y.pdf"
    assert aquila.file(file_id="file-1") == File(file_id="file-1")
    assert aquila.audio(str(tmp_path / "x.wav")).format == "wav"
    assert aquila.audio(b"ID3...").format == "mp3"


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: aquila.image("/no/such/file.png"), "cannot be read"),
        (lambda: aquila.image(b"???"), "cannot tell the type"),
        (lambda: aquila.image_url("x.png"), r"for a file use image\(\)"),
        (aquila.file, "needs a path, bytes, a file_id or a url"),
        (lambda: aquila.file(b"x"), "needs filename="),
        (lambda: aquila.file(b"x", file_id="y"), "one of a source, a file_id or a url"),
        (lambda: aquila.file(file_id="y", url="https://example.org/x.pdf"), "one of a source, a file_id or a url"),
        (lambda: aquila.file(url="x.pdf"), "needs an http or https URL"),
        (lambda: aquila.audio(b"???"), "takes 'wav' or 'mp3'"),
        (lambda: Message("boss", "x"), "unknown role 'boss'"),  # type: ignore[arg-type]
        (
            lambda: Message("user", "x", calls=(AssistantToolCall("a", "b", ""),)),
            "only an assistant message has tool calls",
        ),
        (
            lambda: message_from({"role": "assistant", "tool_calls": [{"id": "x"}]}),
            "a tool call of a message looks like",
        ),
        (
            lambda: message_from({"role": "assistant", "tool_calls": 3}),
            "a tool call of a message looks like",
        ),
        (
            lambda: message_from({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}),
            "a tool call of a message looks like",
        ),
        (lambda: message_from({"role": "user", "content": "x", "extra": 3}), "'extra' of a message is a dict"),
        (lambda: Message("user", 5), "text or a list of parts, not int"),  # type: ignore[arg-type]
        (lambda: aquila.image_url(5), "needs an http, https or data URL, got '5'"),  # type: ignore[arg-type]
        (lambda: aquila.file(url=5), "needs an http or https URL"),  # type: ignore[arg-type]
        (lambda: part_from(5), "not int"),
    ],
)
def test_invalid_messages_and_parts_are_refused(build: Any, reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason):
        build()


def test_parts_are_sent_in_the_form_of_each_endpoint(engine: Engine) -> None:
    prompt = ("user", ["Look", aquila.image(PNG), aquila.file(file_id="f"), Audio("QUJD", "wav")])
    with serving(chat_stream("ok"), responses_stream("ok")) as server:
        engine.ask(prompt, base_url=server.url)
        engine.ask(prompt, base_url=server.url, endpoint="responses")
    url = aquila.image(PNG).url
    sound = {"data": "QUJD", "format": "wav"}
    assert server.seen[0].json["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "input_audio", "input_audio": sound},
    ]
    assert server.seen[1].json["input"][0]["content"] == [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_file", "file_id": "f"},
        {"type": "input_audio", "input_audio": sound},
    ]


def test_file_by_its_url_needs_the_responses_api(engine: Engine) -> None:
    url = "https://example.org/report.pdf"
    written = {"type": "input_file", "file_url": url}
    with serving(responses_stream("ok"), responses_stream("ok")) as server:
        for part in (aquila.file(url=url), written):
            engine.ask(("user", [part]), base_url=server.url, endpoint="responses")
    assert [seen.json["input"][0]["content"] for seen in server.seen] == [[written], [written]]
    with pytest.raises(InvalidMessage, match=r"belongs to endpoint='responses'; for chat .* aquila.file\(path\)"):
        engine.ask(("user", [aquila.file(url=url)]))


def test_reply_messages_continue_the_conversation(engine: Engine, endpoint: str) -> None:
    with serving(STREAMS[endpoint]("Hello"), STREAMS[endpoint]("Bye")) as server:
        first = engine.ask([("system", "Be nice."), "Hi"], base_url=server.url, endpoint=endpoint)
        second = engine.ask([*first.messages, "Bye"], base_url=server.url, endpoint=endpoint)
    assert [(each.role, each.text) for each in second.messages] == [
        ("system", "Be nice."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Bye"),
        ("assistant", "Bye"),
    ]
    sent = server.seen[1].json.get("messages") or server.seen[1].json["input"]
    assert sent[2] == ({"role": "assistant", "content": "Hello"} if endpoint == "chat" else message_item("Hello"))
    assert len(sent) == 4


def test_conversation_may_change_the_endpoint(engine: Engine) -> None:
    with serving(responses_stream("Hello"), chat_stream("Bye"), responses_stream("!")) as server:
        first = engine.ask("Hi", base_url=server.url, endpoint="responses")
        second = engine.ask([*first.messages, "Bye"], base_url=server.url)
        engine.ask([*second.messages, "?"], base_url=server.url, endpoint="responses")
    assert server.seen[1].json["messages"][1] == {"role": "assistant", "content": "Hello"}
    said = [{"type": "output_text", "text": "Bye"}]
    assert server.seen[2].json["input"][3] == {"type": "message", "role": "assistant", "content": said}


def test_author_name_that_responses_cannot_carry_is_refused_there(engine: Engine) -> None:
    with serving(chat_stream("ok")) as server:
        engine.ask(Message("user", "Hi", name="eve"), base_url=server.url)
    assert server.seen[0].json["messages"] == [{"role": "user", "content": "Hi", "name": "eve"}]
    with pytest.raises(InvalidMessage, match="remove name='eve'"):
        engine.ask(Message("user", "Hi", name="eve"), endpoint="responses")


def test_conversation_can_be_continued_after_a_refusal_and_after_an_empty_answer(engine: Engine) -> None:
    refused = sse(chat_chunk(refusal="No."), chat_chunk(finish="stop"))
    with serving(
        refused, chat_stream("ok"), responses_stream("ok"), chat_stream(finish="length"), chat_stream("ok")
    ) as server:
        first = engine.ask("Hi", base_url=server.url)
        engine.ask([*first.messages, "Why?"], base_url=server.url)
        engine.ask([*first.messages, "Why?"], base_url=server.url, endpoint="responses")
        silent = engine.ask("Hi", base_url=server.url)
        engine.ask([*silent.messages, "Go on"], base_url=server.url)
    assert server.seen[1].json["messages"][1] == {"role": "assistant", "content": None, "refusal": "No."}
    assert server.seen[2].json["input"][1]["content"] == [{"type": "refusal", "refusal": "No."}]
    assert server.seen[4].json["messages"][1] == {"role": "assistant", "content": ""}


def test_picture_in_the_result_of_a_tool_is_sent(engine: Engine) -> None:
    url = "https://example.org/a.png"
    asked = Message("assistant", calls=(AssistantToolCall("c", "look", "{}"),))
    shown = Message("tool", (aquila.content.Text("see"), aquila.image_url(url)), call_id="c")
    with serving(responses_stream("ok")) as server:
        engine.ask(["Look", asked, shown], base_url=server.url, endpoint="responses")
    parts = server.seen[0].json["input"][2]["output"]
    assert [part["type"] for part in parts] == ["input_text", "input_image"]


def test_character_that_is_streamed_in_halves_is_joined(engine: Engine) -> None:
    body = sse(chat_chunk("HIGH"), chat_chunk("LOW"), chat_chunk(finish="stop"))
    halves = body.replace(b"HIGH", rb"\ud83d").replace(b"LOW", rb"\ude00")
    with serving(halves, chat_stream("ok")) as server:
        first = engine.ask("Hi", base_url=server.url)
        assert first.text == "\U0001f600"
        assert engine.ask([*first.messages, "?"], base_url=server.url).text == "ok"


def test_half_a_character_in_a_prompt_is_refused(engine: Engine) -> None:
    with serving() as server, pytest.raises(InvalidMessage, match="half of a character"):
        engine.ask("\ud800", base_url=server.url)
    assert server.seen == []


def test_a_message_is_an_ordinary_dataclass() -> None:
    @dataclasses.dataclass(frozen=True)
    class Rated(Message):
        stars: int = 0

    assert Rated("user", "Hi", stars=3).text == "Hi"
    assert len({Message("user", "Hi", extra={"a": 1}), Message("user", "Hi", extra={"a": 1})}) == 1
    call = AssistantToolCall("c", "look", "{}")
    assert len({Message("assistant", calls=[call]), Message("assistant", calls=(call,))}) == 1
    assert pydantic.TypeAdapter(Message).validate_python({"role": "user", "content": "Hi"}) == Message("user", "Hi")


def test_the_content_type_of_a_file_does_not_depend_on_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimetypes.guess_type", lambda name: ("application/vnd.ms-excel", None))  # as on Windows
    part = aquila.file(b"a,b", filename="table.csv")
    assert part.data is not None
    assert part.data.startswith("data:text/csv;")
