"""Turns a chat completion, streamed or whole, into events and a complete answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila.engine import openai_sdk
from aquila.engine.calls.error_translation import error_from_object
from aquila.engine.endpoints.chat_choice import ChoiceBuilder, add_fragment, extend_logprobs
from aquila.engine.endpoints.protocol import EventTags, Turn
from aquila.engine.endpoints.usage import usage_of
from aquila.errors import InvalidAnswer, StreamBroken
from aquila.events import Chunk, Event, Reasoning, Refusal, Usage
from aquila.messages import Message

if TYPE_CHECKING:
    from aquila.engine.openai_sdk import ChatCompletionChunk


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
        self.id: str | None = None
        self._whole: Mapping[str, Any] | None = None

    @property
    def usage(self) -> Usage:
        """The tokens as the provider last reported them. Some report them in each chunk, OpenAI in the last one."""
        return usage_of(self._usage, self._ref, self._metadata)

    def feed(self, chunk: ChatCompletionChunk) -> Sequence[Event]:
        """Return the events in one chunk."""
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
        state = self._first if index == 0 else self._choices.setdefault(index, ChoiceBuilder())
        finish_reason = getattr(choice, "finish_reason", None)
        if finish_reason is not None:
            state.finish_reason = finish_reason
        if getattr(choice, "logprobs", None) is not None:
            extend_logprobs(state.logprobs, choice.logprobs)
        delta = getattr(choice, "delta", None)
        if delta is not None:
            # The caller gets events of the first choice only; the others are in ``raw``.
            self._feed_delta(state, delta, events if index == 0 else [])

    def _feed_delta(self, state: ChoiceBuilder, delta: Any, events: list[Event]) -> None:
        text = delta.content
        if text:
            state.text.write(text)
            events.append(Chunk(text, ref=self._ref, metadata=self._metadata))
        if delta.refusal:
            state.refusal.write(delta.refusal)
            events.append(Refusal(delta.refusal, ref=self._ref, metadata=self._metadata))
        for position, fragment in enumerate(delta.tool_calls or ()):
            add_fragment(state.calls, fragment, position)
        if delta.model_extra:
            # DeepSeek, and many servers after it, say "reasoning_content"; OpenRouter and newer vLLM say "reasoning".
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
            usage=self.usage,
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
