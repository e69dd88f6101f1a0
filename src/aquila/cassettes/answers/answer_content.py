"""Reads the content of answers: text, reasoning, tool calls, images, and why they ended.

This module reads the answers of OpenAI (chat completions, completions, responses, realtime), Anthropic, Gemini, Cohere,
Ollama and Bedrock: JSON objects, and streams of them as server-sent events, as JSON lines, in one JSON array, or in
AWS's binary frames. Fields that are missing or malformed are skipped.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

from aquila.cassettes.amazon_frames import read_frames, read_json_frames
from aquila.cassettes.answers.found_media import Media, find_media
from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import parse_object
from aquila.json_fields import MALFORMED, mapping, mappings, string
from aquila.lazy_patterns import lazy_pattern

Event: TypeAlias = dict[str, Any]

_MODEL_WITHIN = 64 * 1024
"""In how many bytes at each end of an answer that lies in a file the name of its model is looked for."""
_MODEL = lazy_pattern(rb'[{,]\s*"model(?:Version)?"\s*:\s*"([^"\\]{1,200})"')
_MOST_FIELDS = 16  # of the name of a model that are tried at each end

_DATA = lazy_pattern(rb"(?<![^\r\n])data:[ \t]*(\{[^\r\n]*(?:(?:\r\n?|\n)data:[^\r\n]*)*)")  # one event
_LINE = lazy_pattern(rb"data:([^\r\n]*)")


@dataclass
class AnswerCall:
    """A tool call, with its arguments in pieces. ``after``: how many pieces of the message's text came before it."""

    name: str = ""
    id: str = ""
    arguments: list[str] = field(default_factory=list)
    after: int = 0


@dataclass
class AnswerChoice:
    """One message of an answer, as far as it was read. ``finish``: why it ended, in the provider's words."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[Any, AnswerCall] = field(default_factory=dict)
    media: list[Media] = field(default_factory=list)
    finish: str = ""
    is_refused: bool = False
    """Whether it has a refusal in a field of its own. Some providers say that in ``finish`` instead."""

    @property
    def has_begun(self) -> bool:
        """Whether the message has any content yet."""
        return bool(self.text or self.reasoning or self.calls or self.media)


@dataclass
class AnswerContent:
    """The content of an answer. ``first_at``: the end of its first token in the body, in bytes."""

    choices: dict[Any, AnswerChoice] = field(default_factory=dict)
    error: str = ""
    first_at: int | None = None

    def choice(self, index: Any = 0) -> AnswerChoice:
        """Return the message with an index, which is added if there is none."""
        return self.choices.setdefault(index if isinstance(index, int | str) else 0, AnswerChoice())


def read_answer(body: bytes) -> AnswerContent:
    """Return the content of an answer's body, streamed or not."""
    facts = AnswerContent()
    for end, event in read_events(body):
        with suppress(*MALFORMED):
            _read_event(event, facts)
        if facts.first_at is None and any(each.has_begun for each in facts.choices.values()):
            facts.first_at = end
    return facts


def read_beginning(body: bytes, characters: int) -> AnswerContent:
    """Return the content of an answer's body up to the event with which its first message has so many characters.

    Line feeds are not counted.
    """
    facts = AnswerContent()
    pieces = found = 0
    for _, event in read_events(body):
        with suppress(*MALFORMED):
            _read_event(event, facts)
        for message in facts.choices.values():
            found += sum(len(piece) - piece.count("\n") for piece in message.text[pieces:])
            pieces = len(message.text)
            break
        if found >= characters:
            break
    return facts


def model_of_answer(body: bytes) -> str:
    """Return the name of the model that an answer names; an empty string if it names none."""
    for _, event in read_events(body):
        for holder in (event, event.get("response"), event.get("message"), event.get("session")):
            model = (holder.get("model") or holder.get("modelVersion")) if isinstance(holder, dict) else None
            if isinstance(model, str):
                return model[:200].encode("utf-8", "replace").decode()
    return ""


def model_of_chunks(chunks: Sequence[RecordedChunk]) -> str:
    """Return ``model_of_answer`` of an answer in chunks. If the chunks lie in a file, only its ends are read."""
    if isinstance(chunks, StoredChunks):
        begin, end = chunks.file.first_bytes(_MODEL_WITHIN), chunks.file.last_bytes(_MODEL_WITHIN)
        return model_of_answer(begin) or _model_at_an_end(begin, end)
    return model_of_answer(b"".join([chunk.data for chunk in chunks]))


def _model_at_an_end(begin: bytes, end: bytes) -> str:
    """Return the name of the model that a JSON object names, or one in a list, of which only both ends are known."""
    opening, closing = (b"[{", b"}]") if begin.lstrip()[:1] == b"[" else (b"{", b"}")
    first = islice(_MODEL.finditer(begin), _MOST_FIELDS)
    parts = [(found[1], begin[: found.end()] + closing) for found in first]
    last = deque(_MODEL.finditer(end), _MOST_FIELDS)
    parts += [(found[1], opening + end[found.start() + 1 :]) for found in last]
    for model, part in parts:
        with suppress(ValueError, RecursionError):
            json.loads(part)  # with the field of an object within, such as arguments of a tool, it would be no JSON
            return model.decode("utf-8", "replace")
    return ""


def read_provider_messages(messages: Iterable[bytes]) -> AnswerContent:
    """Return the content of the messages that a provider sent over a WebSocket."""
    facts = AnswerContent()
    for message in messages:
        if message.lstrip()[:1] == b"{" and (value := parse_object(message)) is not None:
            with suppress(*MALFORMED):
                _read_event(value, facts)
    return facts


def read_events(body: bytes) -> Iterator[tuple[int, Event]]:
    """Yield the JSON objects of an answer's body, each with the byte at which it ends. Skips malformed ones."""
    if body[:1] == b"\0":
        for frame in read_frames(body):
            with suppress(*MALFORMED):
                found = read_json_frames(body[frame.start : frame.end])
                yield from [(frame.end, event) for event in found if isinstance(event, dict)]
        return
    if body.lstrip()[:1] in (b"{", b"["):
        yield from _read_json(body)
        return
    for data in _DATA.finditer(body):
        try:
            events = [(data.end(), json.loads(data[1].replace(b"\ndata:", b"\n").replace(b"\rdata:", b"\r")))]
        except (ValueError, RecursionError):  # some servers leave the blank lines between events out
            lines = [(line.end(), parse_object(line[1])) for line in _LINE.finditer(body, *data.span())]
            events = [(end, event) for end, event in lines if event is not None]
        yield from events


def _read_json(body: bytes) -> Iterator[tuple[int, Event]]:
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):  # one JSON object in each line, or a body that was cut
        at = 0
        for line in body.splitlines(keepends=True):
            at += len(line)
            if (event := parse_object(line)) is not None:
                yield at, event
        return
    for each in whole if isinstance(whole, list) else [whole]:
        if isinstance(each, dict):
            yield len(body), each


def _read_event(event: Event, facts: AnswerContent) -> None:
    error = event.get("error") or mapping(event.get("response")).get("error")
    if error:
        text = error if isinstance(error, str) else string(mapping(error).get("message"))
        facts.error = facts.error or text
    for key, reader in _READERS:
        if key in event:
            reader(event, facts)
            return


# --- each kind of event


def _add(into: list[str], *values: Any) -> None:
    into.extend(value for value in values if isinstance(value, str) and value)


def _add_call(choice: AnswerChoice, index: Any, name: Any, call_id: Any, arguments: Any) -> None:
    known = choice.calls.get(index)
    if known is not None and name and _is_another(known, call_id, arguments):
        choice.calls[index, len(choice.calls)] = choice.calls.pop(index)
    call = choice.calls.setdefault(index, AnswerCall(after=len(choice.text)))
    call.name = call.name or string(name)
    call.id = call.id or string(call_id)
    if isinstance(arguments, str):
        _add(call.arguments, arguments)
    elif arguments is not None:
        call.arguments.append(json.dumps(arguments, ensure_ascii=False))


def _is_another(call: AnswerCall, call_id: Any, arguments: Any) -> bool:
    """Say whether a named piece with the index of a call begins another one: some providers give all the same index."""
    if call_id:
        return bool(call.id) and call_id != call.id
    begins = isinstance(arguments, str) and arguments[:1] == "{"
    return begins and parse_object("".join(call.arguments).encode("utf-8", "surrogatepass")) is not None


def _read_openai(event: Event, facts: AnswerContent) -> None:
    """Read chat completions and completions, whole or in chunks."""
    for given in mappings(event.get("choices")):
        said = mapping(given.get("message")) or mapping(given.get("delta")) or given
        choice = facts.choice(given.get("index", 0))
        choice.finish = string(given.get("finish_reason")) or choice.finish
        _add(choice.reasoning, said.get("reasoning_content") or said.get("reasoning"))
        content = said.get("content")
        if isinstance(content, list):
            _read_blocks(content, choice)
        else:
            _add(choice.text, content)
        _add(choice.text, said.get("refusal"), said.get("text"))
        choice.is_refused |= bool(said.get("refusal"))
        for number, call in enumerate(mappings(said.get("tool_calls"))):
            function = mapping(call.get("function") or call.get("custom"))
            arguments = function.get("arguments", function.get("input"))
            _add_call(choice, call.get("index", number), function.get("name"), call.get("id"), arguments)
        if called := mapping(said.get("function_call")):
            _add_call(choice, "function", called.get("name"), None, called.get("arguments"))
        if audio := mapping(said.get("audio")):
            _add(choice.text, audio.get("transcript"))
            if audio.get("data"):  # a streamed one is always PCM
                sound = {"format": "pcm", **audio} if "delta" in given else audio
                choice.media += find_media({"type": "input_audio", "input_audio": sound})


def _read_blocks(blocks: Any, choice: AnswerChoice) -> None:
    """Read the content blocks of Anthropic, Bedrock and the Responses API, not streamed."""
    for number, block in enumerate(mappings(blocks)):
        kind = block.get("type")
        if kind in ("thinking", "reasoning"):
            keys = ("summary", "content", "thinking")  # Mistral has parts where Anthropic has a text
            texts = [part.get("text") for key in keys for part in mappings(block.get(key))]
            _add(choice.reasoning, block.get("thinking"), *texts)
        elif string(kind).endswith("tool_use"):
            _add_call(choice, number, block.get("name"), block.get("id"), block.get("input"))
        elif string(kind).endswith("_call"):
            _read_call_item(block, choice, number)
        elif kind == "message":
            _read_blocks(block.get("content"), choice)
        elif "toolUse" in block:
            use = mapping(block["toolUse"])
            _add_call(choice, number, use.get("name"), use.get("toolUseId"), use.get("input"))
        elif "reasoningContent" in block:
            _add(choice.reasoning, mapping(mapping(block["reasoningContent"]).get("reasoningText")).get("text"))
        else:
            _add(choice.text, block.get("text"), block.get("refusal"))
            choice.is_refused |= bool(block.get("refusal"))
            choice.media += find_media(block)


def _read_call_item(item: Event, choice: AnswerChoice, index: Any) -> None:
    """Read a call of the Responses API. Those of the provider's own tools, such as its search, are named by type."""
    arguments = item.get("arguments", item.get("input"))
    _add_call(choice, index, item.get("name") or item.get("type"), item.get("call_id"), arguments)
    choice.media += find_media(item)


def _read_output(event: Event, facts: AnswerContent) -> None:
    output = event["output"]
    if isinstance(output, dict):  # Bedrock's converse
        _read_blocks(mapping(output.get("message")).get("content"), facts.choice())
        _read_stop(event, facts)
    else:
        _read_blocks(output, facts.choice())
        _read_end_of_response(event, facts)


def _read_stop(event: Event, facts: AnswerContent) -> None:
    """Read why an answer of Bedrock's converse ended, from the whole answer or from an event of its stream."""
    facts.choice().finish = string(event.get("stopReason"))


def _read_end_of_response(response: Event, facts: AnswerContent) -> None:
    reason = mapping(response.get("incomplete_details")).get("reason")
    facts.choice().finish = string(reason) or string(response.get("status"))


def _read_content(event: Event, facts: AnswerContent) -> None:
    content, choice = event["content"], facts.choice()
    if isinstance(content, str):
        _add(choice.text, content)
    else:
        _read_blocks(content, choice)
    _read_end_of_message(event, facts)


def _read_end_of_message(end: Event, facts: AnswerContent) -> None:
    """Read why an answer of Anthropic ended, and the text of a refusal."""
    choice = facts.choice()
    choice.finish = string(end.get("stop_reason")) or choice.finish
    _add(choice.text, mapping(end.get("stop_details")).get("explanation"))


def _read_gemini(event: Event, facts: AnswerContent) -> None:
    for given in mappings(event.get("candidates")):
        choice = facts.choice(given.get("index", 0))
        for part in mappings(mapping(given.get("content")).get("parts")):
            _add(choice.reasoning if part.get("thought") else choice.text, part.get("text"))
            if called := mapping(part.get("functionCall")):
                _add_call(choice, len(choice.calls), called.get("name"), called.get("id"), called.get("args") or {})
            choice.media += find_media(part)
        choice.finish = string(given.get("finishReason")) or choice.finish
    if refusal := mapping(event.get("promptFeedback")):
        choice = facts.choice()
        _add(choice.text, refusal.get("blockReasonMessage"))
        choice.finish = string(refusal.get("blockReason")) or choice.finish


def _read_bedrock_event(event: Event, facts: AnswerContent) -> None:
    choice, index = facts.choice(), event["contentBlockIndex"]
    if started := mapping(mapping(event.get("start")).get("toolUse")):
        _add_call(choice, index, started.get("name"), started.get("toolUseId"), None)
    delta = mapping(event.get("delta"))
    _add(choice.text, delta.get("text"))
    _add(choice.reasoning, mapping(delta.get("reasoningContent")).get("text"))
    if piece := mapping(delta.get("toolUse")).get("input"):
        _add_call(choice, index, None, None, piece)


def _read_message(event: Event, facts: AnswerContent) -> None:
    """Read an answer of Ollama or a line of its stream, or a whole answer of Cohere's API version 2."""
    choice, message = facts.choice(), mapping(event.get("message"))
    choice.finish = string(event.get("done_reason")) or string(event.get("finish_reason"))
    _add(choice.reasoning, event.get("thinking"), message.get("thinking"))
    _add(choice.text, event.get("response"), message.get("content"))
    _read_blocks(message.get("content"), choice)
    for call in mappings(message.get("tool_calls")):
        function = mapping(call.get("function"))
        _add_call(choice, len(choice.calls), function.get("name"), call.get("id"), function.get("arguments") or {})


_TEXT_DELTAS = frozenset(
    f"response.{name}.delta"
    for name in ("output_text", "refusal", "text", "output_audio_transcript", "audio_transcript")
)
_ENDS_OF_RESPONSES = frozenset(f"response.{name}" for name in ("completed", "incomplete", "failed", "cancelled"))
_REASONING_DELTAS = frozenset(f"response.{name}.delta" for name in ("reasoning_summary_text", "reasoning_text"))


def _read_typed(event: Event, facts: AnswerContent) -> None:
    """Read an event of the Responses API, of Anthropic, or of Cohere's API version 2."""
    kind, choice = string(event.get("type")), facts.choice()
    if kind in _TEXT_DELTAS:
        _add(choice.text, event.get("delta"))
        choice.is_refused |= kind == "response.refusal.delta"
    elif kind in _REASONING_DELTAS:
        _add(choice.reasoning, event.get("delta"))
    elif kind == "response.output_item.done":
        item = mapping(event.get("item"))
        if string(item.get("type")).endswith("_call"):
            _read_call_item(item, choice, len(choice.calls))
    elif kind in _ENDS_OF_RESPONSES:
        response = mapping(event.get("response"))
        if not choice.has_begun:  # its events are missing, as in a stream that a client resumed at its end
            _read_blocks(response.get("output"), choice)
        _read_end_of_response(response, facts)
    elif kind == "content_block_start":
        block = mapping(event.get("content_block"))
        if string(block.get("type")).endswith("tool_use"):
            _add_call(choice, event.get("index"), block.get("name"), block.get("id"), None)
    elif kind == "content_block_delta":
        delta = mapping(event.get("delta"))
        _add(choice.text, delta.get("text"))
        _add(choice.reasoning, delta.get("thinking"))
        if delta.get("type") == "input_json_delta":
            _add_call(choice, event.get("index"), None, None, delta.get("partial_json"))
    elif kind == "message_delta":
        _read_end_of_message(mapping(event.get("delta")), facts)
    elif kind == "content-delta":
        content = mapping(mapping(mapping(event.get("delta")).get("message")).get("content"))
        _add(choice.text, content.get("text"))
    elif kind == "message-end":
        choice.finish = string(mapping(event.get("delta")).get("finish_reason"))
    elif kind in ("tool-call-start", "tool-call-delta"):
        call = mapping(mapping(mapping(event.get("delta")).get("message")).get("tool_calls"))
        function = mapping(call.get("function"))
        _add_call(choice, event.get("index"), function.get("name"), call.get("id"), function.get("arguments"))


def _read_cohere_line(event: Event, facts: AnswerContent) -> None:
    """Read an event of Cohere's API version 1."""
    if event["event_type"] == "text-generation":
        _add(facts.choice().text, event.get("text"))


def _read_gemini_message(event: Event, facts: AnswerContent) -> None:
    """Read a message of Gemini over a WebSocket: its text, the words of its sound, and its calls."""
    choice, said = facts.choice(), mapping(event.get("serverContent"))
    _add(choice.text, mapping(said.get("outputTranscription")).get("text"))
    for part in mappings(mapping(said.get("modelTurn")).get("parts")):
        _add(choice.reasoning if part.get("thought") else choice.text, part.get("text"))
    for call in mappings(mapping(event.get("toolCall")).get("functionCalls")):
        _add_call(choice, len(choice.calls), call.get("name"), call.get("id"), call.get("args") or {})


_READERS: tuple[tuple[str, Callable[[Event, AnswerContent], None]], ...] = (
    ("choices", _read_openai),
    ("candidates", _read_gemini),
    ("promptFeedback", _read_gemini),
    ("serverContent", _read_gemini_message),
    ("toolCall", _read_gemini_message),
    ("output", _read_output),
    ("content", _read_content),
    ("contentBlockIndex", _read_bedrock_event),
    ("stopReason", _read_stop),
    ("type", _read_typed),
    ("event_type", _read_cohere_line),
    ("message", _read_message),
    ("response", _read_message),
)
"""The functions that read events, each by a key that the event has. The first row that fits counts."""
