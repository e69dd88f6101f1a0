"""Turns a chat completion, streamed or whole, into events and a complete answer.

``TextBuffer``, ``repair_surrogates`` and ``read_usage`` serve the Responses API and the tool loop, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila.engine import openai_sdk
from aquila.engine.calls.error_translation import error_from_object, error_of_other_json
from aquila.engine.endpoints.answer_form import Form, raise_explained, require_form
from aquila.engine.endpoints.protocol import EventTags, Turn
from aquila.errors import InvalidAnswer, StreamBroken
from aquila.events import Chunk, Event, Reasoning, Refusal, Usage
from aquila.messages import AssistantToolCall, Message, call_to_dict, text_of_arguments
from aquila.plurals import count_of
from aquila.tools import decode_arguments

if TYPE_CHECKING:
    from aquila.engine.openai_sdk import ChatCompletionChunk

_MOST_PIECES = 256
_LARGEST_COUNT = 2**53

_CALLS: Form = [{"index": int, "id": str, "function": {"name": str}}]
_CHUNK: Form = {
    "choices": [{"index": int, "delta": {"content": (str, list), "refusal": str, "tool_calls": _CALLS}}],
}
_WHOLE: Form = {
    "choices": [{"index": int, "message": {"content": (str, list), "refusal": str, "tool_calls": _CALLS}}],
}
"""The forms of what is read in a chunk, and in a complete answer."""


class ChatParser:
    """Reads one streamed chat completion."""

    def __init__(self, tags: EventTags) -> None:
        self._ref = tags.ref
        self._metadata = tags.metadata
        self._first = ChoiceBuilder()
        self._choices: dict[int, ChoiceBuilder] = {0: self._first}
        self._head: dict[str, Any] | None = None
        self._usage: Any = None
        self._answered = False
        self.id: str | None = None  # never known, because no completion can be fetched again by its id
        self._whole: Mapping[str, Any] | None = None

    @property
    def usage(self) -> Usage:
        """The tokens as the provider last reported them. Some report them in each chunk, OpenAI in the last one."""
        return read_usage(self._usage, self._ref, self._metadata)

    def feed(self, chunk: ChatCompletionChunk) -> Sequence[Event]:
        """Return the events in one chunk."""
        try:
            return self._feed(chunk)
        except (AttributeError, TypeError) as error:
            raise_explained(error, chunk, _CHUNK)

    def _feed(self, chunk: ChatCompletionChunk) -> Sequence[Event]:
        if self._head is None:
            self._head = _answer_fields(chunk)
        if chunk.model_extra:
            # OpenAI pads chunks with random "obfuscation" against attacks that infer text from packet sizes.
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
        state = self._first if index == 0 else self._other_choice(index)
        finish_reason = getattr(choice, "finish_reason", None)
        if finish_reason:  # some servers send an empty text in place of null
            state.finish_reason = finish_reason
        if getattr(choice, "logprobs", None) is not None:
            extend_logprobs(state.logprobs, choice.logprobs)
        delta = getattr(choice, "delta", None)
        if delta is not None:
            # The caller gets events of the first choice only; the others are in ``raw``.
            self._feed_delta(state, delta, events if index == 0 else [])

    def _other_choice(self, index: Any) -> ChoiceBuilder:
        require_form(index, int, "index of a choice")
        return self._choices.setdefault(index, ChoiceBuilder())

    def _feed_delta(self, state: ChoiceBuilder, delta: Any, events: list[Event]) -> None:
        text = delta.content
        if text and not isinstance(text, str):
            text, thought = _read_parts(text)
            self._add_reasoning(state, thought, events)
        if text:
            state.text.write(text)
            events.append(Chunk(text, ref=self._ref, metadata=self._metadata))
        if delta.refusal:
            require_form(delta.refusal, str, "refusal of a delta")
            state.refusal.write(delta.refusal)
            events.append(Refusal(delta.refusal, ref=self._ref, metadata=self._metadata))
        for fragment in delta.tool_calls or ():
            add_fragment(state.calls, fragment)
        if delta.model_extra:
            # DeepSeek, and many servers after it, say "reasoning_content"; OpenRouter and newer vLLM say "reasoning".
            thought = delta.model_extra.get("reasoning_content") or delta.model_extra.get("reasoning")
            if isinstance(thought, str):
                self._add_reasoning(state, thought, events)
            state.extra.add_fields(delta.model_extra)

    def _add_reasoning(self, state: ChoiceBuilder, thought: str, events: list[Event]) -> None:
        if thought:
            state.reasoning.write(thought)
            events.append(Reasoning(thought, ref=self._ref, metadata=self._metadata))

    def feed_complete_answer(self, answer: Mapping[str, Any]) -> Sequence[Event]:
        """Return the events in a complete chat completion."""
        self._whole = answer
        if answer.get("error") and not answer.get("choices"):
            raise error_from_object(answer)
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
            raise error_of_other_json(answer, "a chat completion", "choices")
        try:
            chunk = {**answer, "choices": [{**choice, "delta": _as_delta(choice)} for choice in choices]}
            return self._feed(openai_sdk.ChatCompletionChunk.construct(**chunk))
        except (AttributeError, TypeError) as error:
            raise_explained(error, answer, _WHOLE, "the answer")

    def finish(self) -> Turn:
        """Return the complete answer."""
        choice = self._first
        if self._head is None:
            raise InvalidAnswer("the provider answered with an empty stream: no chunk, no text")
        calls = tuple(fragments.to_tool_call() for fragments in choice.calls.values())
        text = choice.text.getvalue()
        if not self._answered:
            shown = json.dumps(self._head, ensure_ascii=False, default=str)
            raise InvalidAnswer(f"the provider answered with a stream that holds no choice: {shown}", body=self._head)
        if choice.finish_reason is None and self._whole is None:
            raise StreamBroken(
                f"the stream ended without a finish reason, after {count_of(len(text), 'character')}: "
                "the answer is not complete"
            )
        raw = dict(self._whole) if self._whole is not None else self._assemble_completion(self._head)
        refusal = choice.refusal.getvalue()
        extra = choice.extra.values() | ({"refusal": refusal} if refusal else {})
        reasoning, usage = choice.reasoning.getvalue(), self.usage
        return Turn(
            text=text,
            message=Message("assistant", text, calls=calls, extra=extra),
            usage=usage,
            raw=raw,
            finish_reason=choice.finish_reason,
            id=raw.get("id"),
            model=model if isinstance(model := raw.get("model"), str) else None,
            reasoning=reasoning,
            refusal=refusal,
        )

    def _assemble_completion(self, head: Mapping[str, Any]) -> dict[str, Any]:
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
            **head,
            "object": "chat.completion",
            "choices": choices,
            "usage": _to_plain_values(self._usage),
        }


class ChoiceBuilder:
    """One choice of an answer, which a parser fills delta by delta."""

    __slots__ = ("calls", "extra", "finish_reason", "logprobs", "reasoning", "refusal", "text")

    def __init__(self) -> None:
        self.text = TextBuffer()
        self.refusal = TextBuffer()
        self.reasoning = TextBuffer()
        self.finish_reason: str | None = None
        self.calls: dict[Any, ToolCallBuilder] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.extra = ExtraFields()

    def to_message(self) -> dict[str, Any]:
        result: dict[str, Any] = {"role": "assistant", "content": self.text.getvalue() or None}
        refusal = self.refusal.getvalue()
        result["refusal"] = refusal or None
        if self.calls:
            result["tool_calls"] = [call_to_dict(call.to_tool_call()) for call in self.calls.values()]
        return result | self.extra.values()


class ExtraFields:
    """Fields of deltas that OpenAI's API does not have: texts and lists are continued, other values are replaced."""

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


class ToolCallBuilder:
    """A tool call, put together from its fragments."""

    __slots__ = ("arguments", "extra", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = TextBuffer()
        self.extra = ExtraFields()

    def another_call_begins(self, name: str) -> bool:
        """Return whether arguments that begin as an object, and come with ``name``, begin another call.

        They are if this call has complete arguments already. A proxy may send an empty object first: after that they
        are of this call if they have its name.
        """
        text = self.arguments.getvalue()
        arguments = decode_arguments(text) if text else None
        return bool(arguments) or (arguments == {} and self.name != name)

    def to_tool_call(self) -> AssistantToolCall:
        for name, value in (("id", self.id), ("function.name", self.name)):
            require_form(value, str, f"{name} of a tool call")
        return AssistantToolCall(self.id, self.name, self.arguments.getvalue(), self.extra.values())


def add_fragment(calls: dict[Any, ToolCallBuilder], fragment: Any) -> None:
    """Add a fragment to the tool call that it belongs to, or to a new one."""
    index, identity = getattr(fragment, "index", None), getattr(fragment, "id", None)
    function = getattr(fragment, "function", None)
    named = getattr(function, "name", None)
    arguments = text_of_arguments(getattr(function, "arguments", None))
    key = _key_of_call(calls, index, identity, named)
    if named and not identity and arguments[:1] == "{" and key in calls and calls[key].another_call_begins(named):
        # Gemini gives parallel calls the same index and no id, and each its arguments in one piece.
        key = (index, len(calls))
    state = calls.setdefault(key, ToolCallBuilder())
    if identity:
        state.id = identity
    if named:
        # Most providers send the name once, some in pieces, and others repeat it with every fragment.
        state.name = named if state.name in ("", named) else state.name + named
    state.arguments.write(arguments)
    if more := getattr(fragment, "model_extra", None):
        state.extra.add_fields(more)


def _key_of_call(
    calls: Mapping[Any, ToolCallBuilder], index: int | None, identity: str | None, named: str | None
) -> Any:
    """Return the key of a fragment's call.

    With an index it is the index, or that and the id for another call under the same index; without an id the newest
    call under the index goes on. Without an index it is the id. Without either, a name begins a new call, and anything
    else goes on with the latest call.
    """
    if index is not None:
        # Some providers give every call the index 0; another id under the same index means another call.
        if index in calls and identity and calls[index].id and calls[index].id != identity:
            return (index, identity)
        newest = None if identity else _newest_key(calls, index)
        return index if newest is None else newest
    if identity:
        return identity
    if calls and not named:
        # Without index, id and name a fragment continues the arguments of the latest call.
        return next(reversed(calls))
    return ("new", len(calls))


def _newest_key(calls: Mapping[Any, ToolCallBuilder], index: int) -> Any:
    return next((key for key in reversed(calls) if isinstance(key, tuple) and key[0] == index), None)


def extend_logprobs(into: dict[str, list[Any]], logprobs: Any) -> None:
    if not hasattr(logprobs, "to_dict"):
        return
    for key, value in logprobs.to_dict(mode="json", warnings=False).items():
        if isinstance(value, list):
            into.setdefault(key, []).extend(value)


class TextBuffer:
    """Text put together from pieces, which do not stay in memory one by one.

    A list would keep an object for each of the many small pieces of a stream, and so does ``io.StringIO`` in
    Python 3.11.
    """

    __slots__ = ("_joined", "_pieces")

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._pieces: list[str] = []

    def write(self, piece: str) -> None:
        """Add a piece."""
        pieces = self._pieces
        pieces.append(piece)
        if len(pieces) >= _MOST_PIECES:
            self._joined.append("".join(pieces))
            pieces.clear()

    def getvalue(self) -> str:
        """Return the whole text."""
        return repair_surrogates("".join((*self._joined, *self._pieces)))


def repair_surrogates(text: str) -> str:
    """Return ``text`` as valid Unicode: surrogate pairs become characters, and single halves become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _read_parts(parts: Any) -> tuple[str, str]:
    """Return the text and the reasoning in content that is a list of parts, as Mistral's reasoning models send it."""
    text = thought = ""
    if not isinstance(parts, list):
        raise TypeError(f"content is no text but {type(parts).__name__}")
    for part in parts:
        match part:
            case {"type": "text", "text": str(piece)}:
                text += piece
            case {"type": "thinking", "thinking": str(piece)}:
                thought += piece
            case {"type": "thinking", "thinking": list(inner)}:
                thought += _read_parts(inner)[0]
    return text, thought


def _usage_elsewhere(chunk: ChatCompletionChunk) -> Any:
    """Return the usage that Groq reports in its own field ``x_groq``, or None."""
    extra = (chunk.model_extra or {}).get("x_groq")
    return extra.get("usage") if isinstance(extra, Mapping) else None


def _answer_fields(chunk: ChatCompletionChunk) -> dict[str, Any]:
    # In the order of the model's fields: the order of ``model_fields_set`` differs from process to process, which would
    # show in a stored ``raw``.
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


def read_usage(usage: Any, ref: str, metadata: Mapping[str, Any]) -> Usage:
    """Return the usage record of either endpoint, an object of the SDK or a mapping, as Aquila's ``Usage``."""
    if usage is None:
        return Usage(reported=False, ref=ref, metadata=metadata)
    spent = _first_count(usage, ("prompt_tokens", "input_tokens"))
    made = _first_count(usage, ("completion_tokens", "output_tokens"))
    details_in = _get_field(usage, "prompt_tokens_details") or _get_field(usage, "input_tokens_details")
    details_out = _get_field(usage, "completion_tokens_details") or _get_field(usage, "output_tokens_details")
    return Usage(
        input_tokens=spent,
        output_tokens=made,
        total_tokens=_first_count(usage, ("total_tokens",)) or spent + made,
        cached_tokens=_first_count(details_in, ("cached_tokens",)),
        reasoning_tokens=_first_count(details_out, ("reasoning_tokens",)),
        ref=ref,
        metadata=metadata,
    )


def _first_count(source: Any, names: Iterable[str]) -> int:
    # A negative number is a mistake of the server, and would reduce the sum of a call. So is one that no `float` holds
    # exactly: costs and means are computed from it.
    return next(
        (value for name in names if type(value := _get_field(source, name)) is int and 0 < value <= _LARGEST_COUNT), 0
    )


def _get_field(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
