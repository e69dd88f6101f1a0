"""The text of an answer, for people who read a cassette or a report. A replay uses the bytes, and never this text.

This module reads the answers of OpenAI (chat completions, completions, responses), Anthropic, Gemini, Cohere, Ollama
and Bedrock: JSON objects, and streams of them as server-sent events, as JSON lines, or in AWS's binary frames. A tool
call is shown as ``name(arguments)`` on a line of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from aquila.cassettes.amazon_frames import read_json_frames
from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import Interaction, RecordedChunk

LONGEST = 2000
"""The most characters of the text beside an answer in a cassette. A longer text is cut."""

_DATA = r"(?m)^data: ?(\{.*\})\s*$"

MODEL_WITHIN = 64 * 1024
"""In how many bytes of an answer that lies in a file the name of its model is looked for."""

Event: TypeAlias = dict[str, Any]
Calls: TypeAlias = dict[Any, list[str]]
"""The tool calls of a stream so far, by index: the name, then the pieces of the arguments."""

# The exceptions of reading JSON of an unknown shape. An answer of an unknown shape is no error here; it has no text.
_Unknown = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def text_of_answer(body: bytes) -> str:
    """Return the text of an answer, streamed or not; an empty string if it has none or is of an unknown kind."""
    try:
        whole = _read_object(body)
        return _join(_text_of_object(whole) if whole is not None else _text_of_events(_read_events(body)))
    except _Unknown:
        return ""


def text_of_stream(body: bytes) -> str:
    """Return the text of an answer that was streamed; an empty string for any other answer."""
    try:
        return "" if _read_object(body) is not None else _join(_text_of_events(_read_events(body)))
    except _Unknown:
        return ""


def text_of_messages(messages: Iterable[bytes]) -> str:
    """Return the text of a provider's messages over a WebSocket; an empty string if they are of an unknown kind."""
    try:
        return _join(_text_of_events(filter(_is_object, map(json.loads, messages))))
    except _Unknown:
        return ""


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def model_of_answer(body: bytes) -> str:
    """Return the name of the model that an answer names; an empty string if it names none."""
    try:
        whole = _read_object(body)
        for event in (whole,) if whole is not None else _read_events(body):
            for holder in (event, event.get("response"), event.get("message"), event.get("session")):
                model = (holder.get("model") or holder.get("modelVersion")) if isinstance(holder, dict) else None
                if isinstance(model, str):
                    return model[:200].encode("utf-8", "replace").decode()
    except _Unknown:
        pass
    return ""


def model_of_chunks(chunks: Sequence[RecordedChunk]) -> str:
    """Return ``model_of_answer`` of an answer in chunks. If the chunks lie in a file, only its beginning is read."""
    if isinstance(chunks, StoredChunks):
        return model_of_answer(chunks.file.first_bytes(MODEL_WITHIN))
    return model_of_answer(b"".join([chunk.data for chunk in chunks]))


def status_of(interaction: Interaction) -> str:
    """Return the status of an answer, and how it ended if it is not complete: ``200``, ``200 broken``."""
    response = interaction.response
    status = str(response.status) if response.has_begun else "no answer,"
    return status if response.end == "complete" else f"{status} {response.end}"


def _join(pieces: Iterable[str]) -> str:
    # A provider may split a surrogate pair over two events. UTF-16 joins the halves, and replaces a half without its
    # pair.
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace").lstrip("\n")


def cut_summary(text: str) -> str:
    """Return the first ``LONGEST`` characters of a text. The cassette has the whole text in the answer's own bytes."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


# --- the objects of an answer


def _read_object(body: bytes) -> Event | None:
    """Return an answer that is one JSON object as a whole; None for any other answer."""
    if not body.startswith(b"{"):
        return None
    try:
        value: Event = json.loads(body)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines: more objects follow
            return None
        raise
    return value


def _read_events(body: bytes) -> Iterator[Event]:
    """Yield the JSON objects of a stream."""
    if body.startswith(b"{"):
        return map(json.loads, filter(bytes.strip, body.splitlines()))
    if body.startswith(b"["):  # Gemini, without server-sent events
        return iter(json.loads(body))
    if body.startswith(b"\0"):
        return read_json_frames(body)
    return map(json.loads, re.findall(_DATA, body.decode()))


# --- the text of an answer that came whole


def _text_of_object(answer: Event) -> Iterator[str]:
    if "choices" in answer:
        choice = answer["choices"][0]
        message = choice.get("message") or {}
        yield from _content(message.get("content") or message.get("refusal") or choice.get("text") or "")
        for call in message.get("tool_calls") or ():
            yield _call(call["function"]["name"], call["function"]["arguments"])
    elif isinstance(answer.get("output"), list):
        for item in answer["output"]:
            yield from _response_item(item)
    elif isinstance(answer.get("output"), dict):  # Bedrock's converse
        yield from _converse_blocks(answer["output"]["message"]["content"])
    elif "content" in answer:
        yield from _content(answer["content"])
        yield from _strings(answer.get("stop_details") or {}, "explanation")
    else:
        yield from _text_of_events([answer])


def _content(content: str | list[Event]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for part in content:
        if part.get("type") == "tool_use":
            yield _call(part["name"], json.dumps(part["input"], ensure_ascii=False))
        else:
            yield from _strings(part, "text", "refusal")


def _converse_blocks(blocks: list[Event]) -> Iterator[str]:
    for block in blocks:
        yield from _strings(block, "text")
        if "toolUse" in block:
            yield _call_of_values(block["toolUse"]["name"], block["toolUse"].get("input"))


def _response_item(item: Event) -> Iterator[str]:
    if item.get("type") == "function_call":
        yield _call(item["name"], item["arguments"])
    else:
        yield from _content(item.get("content") or [])


# --- the text of a stream


def _text_of_events(events: Iterable[Event]) -> Iterator[str]:
    calls: Calls = {}
    for event in events:
        reader = next((reader for key, reader in _READERS if key in event), None)
        if reader is not None:
            yield from reader(event, calls)
    for name, *arguments in calls.values():
        yield _call(name, "".join(arguments))


def _openai_chunk(event: Event, calls: Calls) -> Iterator[str]:
    if not event["choices"]:
        return
    choice = event["choices"][0]
    delta = choice.get("delta") or choice
    yield from _strings(delta, "content", "refusal", "text")
    for call in delta.get("tool_calls") or ():
        calls.setdefault(call.get("index", 0), []).extend(_strings(call.get("function") or {}, "name", "arguments"))


def _gemini_chunk(event: Event, calls: Calls) -> Iterator[str]:
    for part in event["candidates"][0].get("content", {}).get("parts") or ():
        if not part.get("thought"):
            yield from _strings(part, "text")
        if "functionCall" in part:
            yield _call_of_values(part["functionCall"]["name"], part["functionCall"].get("args"))


def _gemini_message(event: Event, calls: Calls) -> Iterator[str]:
    """A message of Gemini over a WebSocket: its text, and the words of its sound."""
    content = event["serverContent"]
    yield from _strings(content.get("outputTranscription") or {}, "text")
    for part in (content.get("modelTurn") or {}).get("parts") or ():
        if not part.get("thought"):
            yield from _strings(part, "text")


def _gemini_calls(event: Event, calls: Calls) -> Iterator[str]:
    for call in event["toolCall"]["functionCalls"]:
        yield _call_of_values(call["name"], call.get("args"))


def _gemini_refusal(event: Event, calls: Calls) -> Iterator[str]:
    """The reason why Gemini does not answer a prompt."""
    yield from _strings(event["promptFeedback"], "blockReasonMessage")


def _bedrock_event(event: Event, calls: Calls) -> Iterator[str]:
    """An event of Bedrock's converse stream."""
    index = event["contentBlockIndex"]
    if "toolUse" in event.get("start", {}):
        calls[index] = [event["start"]["toolUse"]["name"]]
    yield from _strings(event.get("delta", {}), "text")
    if index in calls:
        calls[index] += _strings(event.get("delta", {}).get("toolUse", {}), "input")


def _ollama_line(event: Event, calls: Calls) -> Iterator[str]:
    yield from _strings(event, "response")
    message = event.get("message") or {}
    yield from _strings(message, "content")
    for call in message.get("tool_calls") or ():
        yield _call_of_values(call["function"]["name"], call["function"].get("arguments"))


def _cohere_line(event: Event, calls: Calls) -> Iterator[str]:
    """An event of Cohere's first API."""
    if event["event_type"] == "text-generation":
        yield from _strings(event, "text")


_DELTAS = frozenset(
    f"response.{name}.delta"
    for name in ("output_text", "refusal", "text", "output_audio_transcript", "audio_transcript")
)
"""Events of the Responses and the Realtime API with a piece of an answer's text, or of the words of its sound."""


def _typed_event(event: Event, calls: Calls) -> Iterator[str]:
    """An event of the Responses API, of Anthropic, or of Cohere's second API."""
    kind = event["type"]
    if kind in _DELTAS:
        yield from _strings(event, "delta")
    elif kind == "response.output_item.done" and event["item"]["type"] == "function_call":
        yield from _response_item(event["item"])
    elif kind == "content_block_start" and event["content_block"]["type"] == "tool_use":
        calls[event["index"]] = [event["content_block"]["name"]]
    elif kind == "content_block_delta":
        yield from _strings(event["delta"], "text")
        if event["index"] in calls:
            calls[event["index"]] += _strings(event["delta"], "partial_json")
    elif kind == "message_delta":
        yield from _strings(event["delta"].get("stop_details") or {}, "explanation")
    elif kind == "content-delta":
        yield from _strings(event["delta"]["message"]["content"], "text")
    elif kind in ("tool-call-start", "tool-call-delta"):
        function = event["delta"]["message"]["tool_calls"]["function"]
        calls.setdefault(event["index"], []).extend(_strings(function, "name", "arguments"))


_READERS: tuple[tuple[str, Callable[[Event, Calls], Iterator[str]]], ...] = (
    ("choices", _openai_chunk),
    ("candidates", _gemini_chunk),
    ("promptFeedback", _gemini_refusal),
    ("serverContent", _gemini_message),
    ("toolCall", _gemini_calls),
    ("contentBlockIndex", _bedrock_event),
    ("type", _typed_event),
    ("event_type", _cohere_line),
    ("message", _ollama_line),
    ("response", _ollama_line),
)
"""The function that reads an event, by a key that the event has. The first row that fits counts."""


def _strings(holder: Event, *names: str) -> Iterator[str]:
    for name in names:
        value = holder.get(name)
        if isinstance(value, str):
            yield value


def _call(name: str, arguments: str) -> str:
    return f"\n{name}({arguments})"


def _call_of_values(name: str, arguments: Any) -> str:
    return _call(name, json.dumps(arguments or {}, ensure_ascii=False))
