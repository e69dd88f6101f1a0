"""OpenAI's chat completions, which most other servers offer, too.

Source: platform.openai.com/docs/api-reference/chat, and what the openai SDK 3.57 requires.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aquila.cassettes.model import RecordedRequest
from aquila.json_fields import mapping, mappings, string, string_or_none
from aquila.wire_forms.answer import Answer, AnsweredCall, Finish, WrittenUsage, split_arguments, split_text
from aquila.wire_forms.form import (
    CREATED,
    Piece,
    Written,
    answering_model,
    call_id,
    write_event,
    write_events,
    write_json,
)
from aquila.wire_forms.openai.openai_common import (
    OpenAIForm,
    custom_tools,
    openai_headers,
    read_model,
    write_logprobs,
)
from aquila.wire_forms.sent import (
    SentMessage,
    SentRequest,
    SentTool,
    SentToolCall,
    parts_of,
    read_arguments,
    read_json,
    text_of,
)

_FINISH: dict[Finish, str] = {"refusal": "stop"}
_PART_KINDS = {"image_url": "image", "input_audio": "audio", "file": "file"}
_MOST_CHOICES = 128
_REASONING_FIELDS = {"openrouter.ai": "reasoning", "api.groq.com": "reasoning"}
"""The field of reasoning, by host, where it is not ``reasoning_content``, as on most servers that have it."""
DONE = Piece(b"data: [DONE]\n\n")


class ChatCompletions(OpenAIForm):
    """``POST …/chat/completions``. If a request asks for several choices, all of them are equal."""

    name = "OpenAI chat completions"
    path = "/chat/completions"

    def read(self, request: RecordedRequest) -> SentRequest:
        raw = read_json(request)
        asked = mapping(raw)
        tools = [_read_tool(each) for each in mappings(asked.get("tools"))]
        functions = [_read_function(each) for each in mappings(asked.get("functions"))]
        return SentRequest(
            self.name,
            model=read_model(asked, request),
            messages=tuple(_read_message(each) for each in mappings(asked.get("messages"))),
            tools=(*tools, *functions),
            is_streamed=asked.get("stream") is True,
            raw=raw,
            http=request,
        )

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        asked = mapping(sent.raw)
        usage = answer.usage_for(sent.http.size)
        head = {"id": f"chatcmpl-scripted-{number}", "created": CREATED, "model": answering_model(answer, sent)}
        writer = _ChoiceWriter.for_request(answer, sent, number)
        choices = range(count_choices(asked.get("n")))
        if sent.is_streamed:
            wants_usage = mapping(asked.get("stream_options")).get("include_usage") is True
            pieces = _write_chunks(writer, head, choices, usage=usage if wants_usage else None)
            return write_events(list(pieces), headers=openai_headers(number))
        body = {**head, "object": "chat.completion", "choices": [writer.write_whole(index) for index in choices]}
        if usage is not None:
            body["usage"] = write_usage(usage)
        return write_json(body, headers=openai_headers(number))


# --- what was sent


def _read_message(message: dict[str, Any]) -> SentMessage:
    calls = [_read_call(call) for call in mappings(message.get("tool_calls"))]
    if called := mapping(message.get("function_call")):  # the API before it had tools
        calls.append(_read_call({"function": called}))
    role = string(message.get("role"))
    content = message.get("content")
    refused = string(message.get("refusal")) or "".join(string(part.get("refusal")) for part in mappings(content))
    return SentMessage(
        "tool" if role == "function" else role,
        text_of(content) or refused,
        tuple(calls),
        string_or_none(message.get("tool_call_id")),
        parts_of(content, _PART_KINDS),
    )


def _read_call(call: dict[str, Any]) -> SentToolCall:
    function = mapping(call.get("function") or call.get("custom"))
    arguments = read_arguments(function.get("arguments", function.get("input")))
    return SentToolCall(string(function.get("name")), arguments, string_or_none(call.get("id")))


def _read_tool(tool: dict[str, Any]) -> SentTool:
    read = _read_function(mapping(tool.get("function") or tool.get("custom")))
    return read if read.name else SentTool(string(tool.get("type")), read.description, read.parameters)


def _read_function(function: dict[str, Any]) -> SentTool:
    return SentTool(
        string(function.get("name")), string(function.get("description")), mapping(function.get("parameters"))
    )


def count_choices(asked: object) -> int:
    """Return how many choices a request asks for; one if that is not a number within bounds."""
    return asked if isinstance(asked, int) and 1 <= asked <= _MOST_CHOICES else 1


# --- what is answered


@dataclass(frozen=True, slots=True)
class _ChoiceWriter:
    """Writes the content of a choice, whole or in pieces."""

    answer: Answer
    number: int
    custom: frozenset[str]
    """The names of custom tools, whose input is plain text."""
    reasoning_field: str
    wants_logprobs: bool
    calls_function: bool
    """Whether the call is written as ``function_call``, the form before the API had tools."""
    streams_whole_calls: bool
    """Whether a tool call is sent in one piece, the only form that Mistral's SDK reads."""

    @classmethod
    def for_request(cls, answer: Answer, sent: SentRequest, number: int) -> _ChoiceWriter:
        """Return the writer for an answer to a request; ``number`` is that of the answer."""
        asked = mapping(sent.raw)
        host = urlsplit(sent.http.url).hostname or ""
        return cls(
            answer,
            number,
            custom_tools(sent),
            _REASONING_FIELDS.get(host, "reasoning_content"),
            asked.get("logprobs") is True,
            calls_function="functions" in asked and "tools" not in asked and len(answer.calls) == 1,
            streams_whole_calls=host.endswith(".mistral.ai")
            or sent.first_header("user-agent").startswith("mistral-client"),
        )

    def write_whole(self, index: int) -> dict[str, Any]:
        """Return the choice ``index`` of an answer that is not streamed."""
        answer = self.answer
        message = {"role": "assistant", "content": self._empty_content(), "refusal": answer.refusal}
        if answer.texts:
            message["content"] = answer.text
        if answer.reasoning:
            message[self.reasoning_field] = "".join(answer.reasoning)
        if self.calls_function:
            return self._choice(index, {"message": {**message, "function_call": self._function(answer.calls[0])}})
        calls = [self._call(at, call.arguments) for at, call in enumerate(answer.calls)]
        return self._choice(index, {"message": {**message, "tool_calls": calls} if calls else message})

    def write_deltas(self) -> Iterator[tuple[dict[str, Any], Sequence[str]]]:
        """Yield the deltas of a choice, each with its tokens."""
        answer = self.answer
        for text in answer.reasoning:
            yield {self.reasoning_field: text}, ()
        for text in answer.texts:
            yield {"content": text}, (text,)
        for text in () if answer.refusal is None else split_text(answer.refusal) or ("",):
            yield {"refusal": text}, ()
        for at, call in enumerate(answer.calls):
            if self.streams_whole_calls:
                yield {"tool_calls": [{"index": at, **self._call(at, call.arguments)}]}, ()
                continue
            # The id and the name are sent once, because clients concatenate what is repeated.
            if self.calls_function:
                yield {"function_call": {**self._function(call), "arguments": ""}}, ()
            else:
                yield {"tool_calls": [{"index": at, **self._call(at, "")}]}, ()
            kind, field = ("custom", "input") if call.name in self.custom else ("function", "arguments")
            for text in split_arguments(call.arguments):
                if self.calls_function:
                    yield {"function_call": {"arguments": text}}, ()
                else:
                    yield {"tool_calls": [{"index": at, kind: {field: text}}]}, ()

    def write_begin(self) -> dict[str, Any]:
        """Return the first delta of a choice."""
        return {"role": "assistant", "content": self._empty_content(), "refusal": None}

    def write_logprobs(self, texts: Sequence[str]) -> dict[str, Any] | None:
        """Return the log probabilities of tokens if the request asks for them, else None."""
        return {"content": write_logprobs(texts), "refusal": None} if self.wants_logprobs else None

    @property
    def finish(self) -> str:
        """The finish reason of a choice."""
        reason = self.answer.finish_reason
        if reason == "tool_calls" and self.calls_function:
            return "function_call"
        return _FINISH.get(reason, reason)

    def _choice(self, index: int, said: dict[str, Any]) -> dict[str, Any]:
        return {
            "index": index,
            **said,
            "logprobs": self.write_logprobs(self.answer.texts),
            "finish_reason": self.finish,
        }

    def _empty_content(self) -> str | None:
        """Return the content before any text: None if the answer consists of something other than text."""
        answer = self.answer
        return "" if answer.texts or not (answer.calls or answer.reasoning or answer.refusal is not None) else None

    def _call(self, at: int, arguments: str) -> dict[str, Any]:
        call = self.answer.calls[at]
        head = {"id": call_id(call, self.number, at)}
        if call.name in self.custom:
            return {**head, "type": "custom", "custom": {"name": call.name, "input": arguments}}
        return {**head, "type": "function", "function": {"name": call.name, "arguments": arguments}}

    def _function(self, call: AnsweredCall) -> dict[str, Any]:
        return {"name": call.name, "arguments": call.arguments}


def _write_chunks(
    writer: _ChoiceWriter, head: dict[str, Any], choices: Sequence[int], *, usage: WrittenUsage | None
) -> Iterator[Piece]:
    head = {**head, "object": "chat.completion.chunk"}
    # With ``include_usage``, OpenAI puts the field into every chunk, as null in all but the last.
    ends = {"usage": None} if usage is not None else {}

    def chunks(
        delta: dict[str, Any], finish: str | None = None, *, tokens: Sequence[str] = (), is_content: bool = False
    ) -> Iterator[Piece]:
        logprobs = writer.write_logprobs(tokens) if tokens else None
        for index in choices:
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            # One piece of all choices is sent at the same time, so only the first counts for the times.
            yield write_event({**head, "choices": [choice], **ends}, is_content=is_content and index == 0)

    yield from chunks(writer.write_begin())
    for delta, tokens in writer.write_deltas():
        yield from chunks(delta, tokens=tokens, is_content=True)
    yield from chunks({}, writer.finish)
    if usage is not None:
        yield write_event({**head, "choices": [], "usage": write_usage(usage)})
    yield DONE


def write_usage(usage: WrittenUsage) -> dict[str, Any]:
    """Return the usage in the form of chat completions and completions."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }
