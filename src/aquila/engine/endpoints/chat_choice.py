"""One choice of a streamed chat completion, put together from its deltas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aquila.engine.endpoints.text_buffer import TextBuffer
from aquila.messages import AssistantToolCall, call_to_dict


class ChoiceBuilder:
    """One choice of an answer, which a parser fills delta by delta."""

    __slots__ = ("calls", "extra", "finish_reason", "logprobs", "order", "reasoning", "refusal", "role", "text")

    def __init__(self) -> None:
        self.text = TextBuffer()
        self.refusal = TextBuffer()
        self.reasoning = TextBuffer()
        self.role = "assistant"
        self.finish_reason: str | None = None
        self.calls: dict[Any, ToolCallBuilder] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.extra = ExtraFields()

    def to_message(self) -> dict[str, Any]:
        result: dict[str, Any] = {"role": self.role, "content": self.text.getvalue() or None}
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

    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = TextBuffer()

    def to_tool_call(self) -> AssistantToolCall:
        return AssistantToolCall(self.id, self.name, self.arguments.getvalue())


def add_fragment(calls: dict[Any, ToolCallBuilder], fragment: Any, position: int) -> None:
    """Add a fragment to the tool call that it belongs to, or to a new one. ``position``: its index within its chunk."""
    identity = getattr(fragment, "id", None)
    function = getattr(fragment, "function", None)
    named = getattr(function, "name", None)
    key = _key_of_call(calls, getattr(fragment, "index", None), identity, named, position)
    state = calls.setdefault(key, ToolCallBuilder())
    if identity:
        state.id = identity
    if named:
        # Most providers send the name once, some in pieces, and others repeat it with every fragment.
        state.name = named if state.name in ("", named) else state.name + named
    arguments = getattr(function, "arguments", None)
    if isinstance(arguments, str):
        state.arguments.write(arguments)


def _key_of_call(
    calls: Mapping[Any, ToolCallBuilder], index: int | None, identity: str | None, named: str | None, position: int
) -> Any:
    """Return the key of a fragment's call: the index if the provider sends one, else the id, else the latest key."""
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
    return ("position", len(calls), position)


def _newest_key(calls: Mapping[Any, ToolCallBuilder], index: int) -> Any:
    return next((key for key in reversed(calls) if isinstance(key, tuple) and key[0] == index), None)


def extend_logprobs(into: dict[str, list[Any]], logprobs: Any) -> None:
    if not hasattr(logprobs, "to_dict"):
        return
    for key, value in logprobs.to_dict(mode="json", warnings=False).items():
        if isinstance(value, list):
            into.setdefault(key, []).extend(value)
