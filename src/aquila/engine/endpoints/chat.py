"""The Chat Completions endpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila.content import File, Part
from aquila.engine import openai_sdk
from aquila.engine.calls.error_translation import error_from_object
from aquila.engine.calls.options import TOOL_CHOICES, Options, chat_body_fields
from aquila.engine.endpoints.protocol import EventTags, Turn
from aquila.engine.endpoints.structured_output import metadata_to_wire, response_format_to_wire
from aquila.engine.endpoints.text_buffer import TextBuffer
from aquila.engine.endpoints.usage import usage_of
from aquila.errors import BadRequest, ConfigError, InvalidAnswer, InvalidMessage, StreamBroken
from aquila.events import Chunk, Event, Reasoning, Refusal
from aquila.messages import AssistantToolCall, Message, call_to_dict, part_to_dict
from aquila.tools import Tool

if TYPE_CHECKING:
    from aquila.engine.openai_sdk import ChatCompletionChunk

name = "chat"
path = retrieve_path = "chat.completions.create"


def poll_request(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return None: an answer of this API is always finished."""
    return None


_REFUSES_TOOL_ROLE = re.compile(r"\brole\b.*\btool\b|\btool\b.*\brole\b", re.IGNORECASE | re.DOTALL)


def refused_usual_form(error: BaseException, messages: Sequence[Message]) -> bool:
    """Whether the provider refused the role ``tool``. If so, tool results are sent as user messages."""
    if not isinstance(error, BadRequest) or not any(message.role == "tool" for message in messages):
        return False
    return _REFUSES_TOOL_ROLE.search(str(error)) is not None


def build_request(
    messages: Sequence[Message], options: Options, *, model: str, fallback_form: bool = False
) -> dict[str, Any]:
    """Return the arguments of ``chat.completions.create``."""
    wire = [message_to_wire(message) for message in (without_tool_role(messages) if fallback_form else messages)]
    if options.instructions:
        wire.insert(0, {"role": "system", "content": options.instructions})
    optional: dict[str, Any] = {
        **chat_body_fields(options),
        "response_format": response_format_to_wire(options.response_format),
        # The API refuses metadata of answers that it does not store.
        "metadata": metadata_to_wire(options) if options.store else None,
        "reasoning_effort": _reasoning_effort(options),
        "verbosity": _verbosity(options),
        "tool_choice": _tool_choice_to_wire(options),
    }
    if options.tools:
        optional["tools"] = [_tool_to_wire(tool) for tool in options.tools.tools.values()] + _built_in_tools(options)
    return {
        "model": model,
        "messages": wire,
        "stream": True,
        "stream_options": {"include_usage": True},
        **{key: value for key, value in optional.items() if value is not None},
    }


def _reasoning_effort(options: Options) -> Any:
    reasoning = options.reasoning or {}
    if "summary" in reasoning:
        raise ConfigError("option 'reasoning': a summary belongs to endpoint='responses'; chat has 'effort' only")
    return reasoning.get("effort")


def _verbosity(options: Options) -> Any:
    settings = options.text or {}
    others = settings.keys() - {"verbosity"}
    if others:
        raise ConfigError(f"option 'text': {min(others)!r} belongs to endpoint='responses'; chat has 'verbosity' only")
    return settings.get("verbosity")


def _tool_to_wire(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function | ({"strict": True} if tool.strict else {})}


def _built_in_tools(options: Options) -> list[dict[str, Any]]:
    names = [each for each in options.tools.built_in if isinstance(each, str)]
    if names:
        raise ConfigError(
            f"the built-in tool {names[0]!r} belongs to endpoint='responses'; a provider that has it on chat all the "
            "same gets it as a dict, {'type': ...}"
        )
    return [dict(each) for each in options.tools.built_in if not isinstance(each, str)]


def _tool_choice_to_wire(options: Options) -> Any:
    choice = options.tool_choice
    if choice is None or isinstance(choice, Mapping) or choice in TOOL_CHOICES:
        return choice
    return {"type": "function", "function": {"name": choice}} if choice in options.tools.tools else {"type": choice}


def without_tool_role(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield a conversation in which calls and results of tools are written as text."""
    names: dict[str, str] = {}
    for message in messages:
        if message.calls:
            names |= {call.id: call.name for call in message.calls}
            called = "\n".join(f"[I call the tool {call.name} with {call.arguments or '{}'}]" for call in message.calls)
            yield Message("assistant", "\n".join(filter(None, (message.text, called))))
        elif message.role == "tool":
            name = names.get(message.call_id or "", "")
            yield Message("user", f"[The tool {name} returned] {message.text}")
        else:
            yield message


def message_to_wire(message: Message) -> dict[str, Any]:
    """Return a message as the API takes it."""
    wire: dict[str, Any] = {"role": message.role}
    if isinstance(message.content, str):
        # An assistant that only called tools or refused said nothing; some providers refuse an empty text here.
        silent = not message.content and (message.calls or message.extra.get("refusal"))
        wire["content"] = None if silent else message.content
    else:
        wire["content"] = [_part_to_wire(part) for part in message.content]
    if message.name is not None:
        wire["name"] = message.name
    if message.calls:
        wire["tool_calls"] = [call_to_dict(call) for call in message.calls]
    if message.call_id is not None:
        wire["tool_call_id"] = message.call_id
    # ``output`` are the items of a Responses answer: they mean nothing here.
    wire |= {key: value for key, value in message.extra.items() if key not in wire and key not in NOT_SENT}
    return wire


def _part_to_wire(part: Part) -> dict[str, Any]:
    if isinstance(part, File) and part.url is not None:
        raise InvalidMessage(
            "a file by its web address belongs to endpoint='responses'; for chat give its content, aquila.file(path)"
        )
    return part_to_dict(part)


NOT_SENT = frozenset({"output", "annotations", "audio", "function_call", "reasoning", "reasoning_content"})


class _ChoiceBuilder:
    """One choice of the answer, put together from its deltas."""

    __slots__ = ("calls", "extra", "finish_reason", "logprobs", "order", "reasoning", "refusal", "role", "text")

    def __init__(self) -> None:
        self.text = TextBuffer()
        self.refusal = TextBuffer()
        self.reasoning = TextBuffer()
        self.role = "assistant"
        self.finish_reason: str | None = None
        self.calls: dict[Any, _ToolCallBuilder] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.extra = _ExtraFields()

    def to_message(self) -> dict[str, Any]:
        result: dict[str, Any] = {"role": self.role, "content": self.text.getvalue() or None}
        refusal = self.refusal.getvalue()
        result["refusal"] = refusal or None
        if self.calls:
            result["tool_calls"] = [call_to_dict(call.to_tool_call()) for call in self.calls.values()]
        return result | self.extra.values()


class _ExtraFields:
    """A provider's own fields of the deltas: text is continued, lists are extended, the rest is replaced."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}

    def add_fields(self, extra: Mapping[str, Any]) -> None:
        for key, value in extra.items():
            if value is None:
                continue
            if isinstance(value, str):
                text = self._fields.setdefault(key, TextBuffer())
                if isinstance(text, TextBuffer):
                    text.write(value)
                    continue
            before = self._fields.get(key)
            if isinstance(value, list):
                self._fields[key] = [*before, *value] if isinstance(before, list) else value
                continue
            self._fields[key] = value

    def values(self) -> dict[str, Any]:
        return {k: v.getvalue() if isinstance(v, TextBuffer) else v for k, v in self._fields.items()}


class _ToolCallBuilder:
    """A tool call, put together from the fragments in which it comes."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = TextBuffer()

    def to_tool_call(self) -> AssistantToolCall:
        return AssistantToolCall(self.id, self.name, self.arguments.getvalue())


class ChatParser:
    """Reads one streamed chat completion."""

    def __init__(self, tags: EventTags) -> None:
        self._ref = tags.ref
        self._metadata = tags.metadata
        self._first = _ChoiceBuilder()
        self._choices: dict[int, _ChoiceBuilder] = {0: self._first}
        self._head: dict[str, Any] | None = None
        self._usage: Any = None
        self._answered = False
        self.id: str | None = None
        self._whole: Mapping[str, Any] | None = None

    def feed(self, chunk: ChatCompletionChunk) -> Sequence[Event]:
        """Return the events in one chunk."""
        if self._head is None:
            self._head = _answer_fields(chunk)
        if chunk.model_extra:
            self._head |= {key: value for key, value in chunk.model_extra.items() if key != "obfuscation"}
        events: list[Event] = []
        usage = getattr(chunk, "usage", None) or _usage_elsewhere(chunk)
        if usage is not None:
            self._usage = usage
        for choice in getattr(chunk, "choices", None) or ():
            self._answered = True
            self._feed_choice(choice, events)
        return events

    def _feed_choice(self, choice: Any, events: list[Event]) -> None:
        if choice.model_extra and choice.model_extra.get("error"):
            raise error_from_object(choice.model_extra)
        index = getattr(choice, "index", None) or 0
        state = self._first if index == 0 else self._choices.setdefault(index, _ChoiceBuilder())
        finish_reason = getattr(choice, "finish_reason", None)
        if finish_reason is not None:
            state.finish_reason = finish_reason
        if getattr(choice, "logprobs", None) is not None:
            _extend_logprobs(state.logprobs, choice.logprobs)
        delta = getattr(choice, "delta", None)
        if delta is not None:
            # The caller is shown the first choice alone; the others are in ``raw``.
            self._feed_delta(state, delta, events if index == 0 else [])

    def _feed_delta(self, state: _ChoiceBuilder, delta: Any, events: list[Event]) -> None:
        text = delta.content
        if text:
            state.text.write(text)
            events.append(Chunk(text, ref=self._ref, metadata=self._metadata))
        if delta.refusal:
            state.refusal.write(delta.refusal)
            events.append(Refusal(delta.refusal, ref=self._ref, metadata=self._metadata))
        for position, fragment in enumerate(delta.tool_calls or ()):
            _add_fragment(state.calls, fragment, position)
        if delta.model_extra:
            thought = delta.model_extra.get("reasoning_content") or delta.model_extra.get("reasoning")
            if isinstance(thought, str) and thought:
                state.reasoning.write(thought)
                events.append(Reasoning(thought, ref=self._ref, metadata=self._metadata))
            state.extra.add_fields(delta.model_extra)

    def feed_complete_answer(self, answer: Mapping[str, Any]) -> Sequence[Event]:
        """Return the events in a complete chat completion."""
        self._whole = answer
        if answer.get("error") and not answer.get("choices"):
            raise error_from_object(answer)
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
            raise InvalidAnswer("the answer is JSON but not a chat completion: it has no 'choices'")
        chunk = {**answer, "choices": [{**choice, "delta": _as_delta(choice)} for choice in choices]}
        return self.feed(openai_sdk.ChatCompletionChunk.construct(**chunk))

    def finish(self) -> Turn:
        """Return the complete answer."""
        choice = self._first
        if self._head is None:
            raise InvalidAnswer("the provider answered with an empty stream: no chunk, no text")
        calls = tuple(fragments.to_tool_call() for fragments in choice.calls.values())
        text = choice.text.getvalue()
        if not self._answered:
            raise InvalidAnswer("the provider answered with a stream that holds no choice")
        if choice.finish_reason is None and self._whole is None:
            raise StreamBroken(
                f"the stream ended without a finish reason, after {len(text)} characters: the answer is not complete"
            )
        raw = dict(self._whole) if self._whole is not None else self._assemble_completion()
        refusal = choice.refusal.getvalue()
        extra = choice.extra.values() | ({"refusal": refusal} if refusal else {})
        return Turn(
            text=text,
            message=Message("assistant", text, calls=calls, extra=extra),
            usage=usage_of(self._usage, self._ref, self._metadata),
            raw=raw,
            finish_reason=choice.finish_reason,
            id=raw.get("id"),
            model=raw.get("model"),
            reasoning=choice.reasoning.getvalue(),
            refusal=refusal,
        )

    def _assemble_completion(self) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": choice.to_message(),
                "finish_reason": choice.finish_reason,
                "logprobs": choice.logprobs or None,
            }
            for index, choice in sorted(self._choices.items())
        ]
        return {
            **(self._head or {}),
            "object": "chat.completion",
            "choices": choices,
            "usage": _to_plain_values(self._usage),
        }


def make_parser(tags: EventTags) -> ChatParser:
    """Return the reader of one answer."""
    return ChatParser(tags)


def _usage_elsewhere(chunk: ChatCompletionChunk) -> Any:
    """Groq reports the usage of a stream within a field of its own."""
    extra = (chunk.model_extra or {}).get("x_groq")
    return extra.get("usage") if isinstance(extra, Mapping) else None


def _answer_fields(chunk: ChatCompletionChunk) -> dict[str, Any]:
    # In the order of the fields: that of the set differs from process to process, which shows in a stored `raw`.
    sent = {name: value for name, value in vars(chunk).items() if name in chunk.model_fields_set}
    head = {**sent, **(chunk.model_extra or {})}
    return {
        key: _to_plain_values(value) for key, value in head.items() if key not in ("choices", "usage", "obfuscation")
    }


def _to_plain_values(value: Any) -> Any:
    return value.to_dict(mode="json", warnings=False) if hasattr(value, "to_dict") else value


def _as_delta(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if not isinstance(message, dict):
        return {}
    calls = message.get("tool_calls") or ()
    return {**message, "tool_calls": [{**call, "index": index} for index, call in enumerate(calls)] or None}


def _add_fragment(calls: dict[Any, _ToolCallBuilder], fragment: Any, position: int) -> None:
    """Add a fragment to the call that it belongs to; ``position`` is its place in its chunk."""
    identity = getattr(fragment, "id", None)
    function = getattr(fragment, "function", None)
    named = getattr(function, "name", None)
    key = _key_of_call(calls, getattr(fragment, "index", None), identity, named, position)
    state = calls.setdefault(key, _ToolCallBuilder())
    if identity:
        state.id = identity
    if named:
        # Sent once as a rule, in pieces by some, and repeated with every fragment by others.
        state.name = named if state.name in ("", named) else state.name + named
    arguments = getattr(function, "arguments", None)
    if isinstance(arguments, str):
        state.arguments.write(arguments)


def _key_of_call(
    calls: Mapping[Any, _ToolCallBuilder], index: int | None, identity: str | None, named: str | None, position: int
) -> Any:
    """Return the key of a fragment's call: its index where the provider gives one, else its id, else the last."""
    if index is not None:
        # A provider that gives every call the index 0 is told apart by a second id.
        if index in calls and identity and calls[index].id and calls[index].id != identity:
            return (index, identity)
        newest = None if identity else _newest_key(calls, index)
        return index if newest is None else newest
    if identity:
        return identity
    if calls and not named:
        return next(reversed(calls))
    return ("position", len(calls), position)


def _newest_key(calls: Mapping[Any, _ToolCallBuilder], index: int) -> Any:
    return next((key for key in reversed(calls) if isinstance(key, tuple) and key[0] == index), None)


def _extend_logprobs(into: dict[str, list[Any]], logprobs: Any) -> None:
    if not hasattr(logprobs, "to_dict"):
        return
    for key, value in logprobs.to_dict(mode="json", warnings=False).items():
        if isinstance(value, list):
            into.setdefault(key, []).extend(value)
