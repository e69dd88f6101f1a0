"""Turns requests and answers into the messages of a report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, get_args

from aquila.cassettes.answers.answer_content import AnswerChoice, AnswerContent
from aquila.cassettes.answers.answer_text import join_texts
from aquila.cassettes.answers.found_media import Media, MediaKind, find_media
from aquila.json_fields import mapping
from aquila.run_report.bodies import Bodies
from aquila.run_report.schema import Message, Part, ToolCall
from aquila.wire_forms.sent import SentMessage, SentRequest, SentToolCall

_KINDS = get_args(MediaKind)
_NO_PARAMETERS = frozenset(
    {
        *("messages", "input", "contents", "system", "instructions", "prompt", "tools", "functions", "model"),
        *("systemInstruction", "system_instruction", "toolConfig", "images", "stream"),
        *("content", "requests", "instances"),
    }
)
_LONGEST_PARAMETER = 1000
_MOST_PARAMETERS = 50


def read_messages(sent: SentRequest, bodies: Bodies) -> list[Message]:
    """Return the conversation in a request, each tool call with its result."""
    media = find_media(sent.raw)
    messages = [_as_message(each, media, bodies) for each in sent.messages]
    if media and messages:  # media whose message is not known belong to the last one
        messages[-1].setdefault("parts", []).extend(as_part(each, bodies) for each in media)
    return pair_results(messages)


def pair_results(messages: list[Message]) -> list[Message]:
    """Add the results of tools to their calls, by ids, or in order if there are no ids. Return the same messages."""
    waiting: list[ToolCall] = []
    for message in messages:
        waiting += [call for call in message.get("tool_calls", ()) if "result" not in call]
        if message["role"] == "tool":
            name = message.get("tool_call_id")
            call = next((each for each in waiting if name is None or each.get("id") in (name, None)), None)
            if call is not None:
                call["result"] = message.get("text", "")
                waiting.remove(call)
    return messages


def read_parameters(sent: SentRequest) -> dict[str, Any]:
    """Return the parameters of a request, such as temperature and limits, without its content."""
    found: dict[str, Any] = {}
    for name, value in mapping(sent.raw).items():
        if name in _NO_PARAMETERS or len(found) >= _MOST_PARAMETERS:
            continue
        if len(json.dumps(value, ensure_ascii=False)) <= _LONGEST_PARAMETER:
            found[name[:200]] = value
    return found


def answer_messages(facts: AnswerContent, bodies: Bodies) -> list[Message]:
    """Return the messages of an answer, one for each choice."""
    return [_answer_message(choice, bodies) for choice in facts.choices.values() if choice.has_begun]


def _answer_message(choice: AnswerChoice, bodies: Bodies) -> Message:
    message: Message = {"role": "assistant"}
    if choice.text:
        message["text"] = bodies.add_text(join_texts(choice.text))
    if choice.reasoning:
        message["reasoning"] = bodies.add_text(join_texts(choice.reasoning))
    if choice.calls:
        calls = choice.calls.values()
        message["tool_calls"] = [
            _as_call(SentToolCall(each.name, join_texts(each.arguments), each.id or None), bodies) for each in calls
        ]
    if choice.media:
        message["parts"] = [as_part(each, bodies) for each in join_pieces(choice.media)]
    return message


def _as_message(sent: SentMessage, media: list[Media], bodies: Bodies) -> Message:
    message: Message = {"role": sent.role}
    if sent.text:
        message["text"] = bodies.add_text(sent.text)
    if sent.tool_calls:
        message["tool_calls"] = [_as_call(each, bodies) for each in sent.tool_calls]
    if sent.tool_call_id is not None:
        message["tool_call_id"] = sent.tool_call_id
    if sent.parts:
        message["parts"] = [_take_part(each, media, bodies) for each in sent.parts]
    return message


def _take_part(name: str, media: list[Media], bodies: Bodies) -> Part:
    kind: MediaKind = next((each for each in _KINDS if each == name), "other")
    found = next((each for each in media if each.kind == kind), None)
    if found is None:
        return {"kind": kind}
    media.remove(found)
    return as_part(found, bodies)


def _as_call(call: SentToolCall, bodies: Bodies) -> ToolCall:
    value = "" if call.arguments is None else call.arguments
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    given: ToolCall = {"name": call.name, "arguments": bodies.add_text(written)}
    if call.id is not None:
        given["id"] = call.id
    return given


def join_pieces(found: Iterable[Media]) -> Iterator[Media]:
    """Yield media, with the pieces of a streamed sound joined, because they are samples without a header."""
    for _, group in itertools.groupby(found, key=lambda each: each.media_type if _is_piece(each) else id(each)):
        first, *others = group
        yield replace(first, data=b"".join([each.data or b"" for each in (first, *others)])) if others else first


def _is_piece(media: Media) -> bool:
    return media.data is not None and media.media_type.lower().startswith(("audio/pcm", "audio/l16"))


def as_part(media: Media, bodies: Bodies) -> Part:
    """Return an image, sound or file as a part of a message."""
    part: Part = {"kind": media.kind}
    if media.name:
        part["name"] = media.name[:200]
    if media.media_type:
        part["media_type"] = media.media_type
    if media.data is not None:
        part["body"] = bodies.add_image(media.data, media.media_type)
    elif media.url:
        part["url"] = media.url[:2000]
    return part
