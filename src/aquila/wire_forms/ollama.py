"""Ollama's own API: chat, completion of a prompt, and embeddings. Its streams are lines of JSON.

Source: docs.ollama.com/api, and what the ollama package 0.6 requires. Answers are streamed unless ``stream`` is false.
A tool call is never split, and an answer with one ends for the reason ``stop``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aquila.cassettes.model import RecordedRequest
from aquila.json_fields import mapping, mappings, string, string_or_none
from aquila.wire_forms.answer import Answer, AnsweredError, WrittenUsage, compact_json
from aquila.wire_forms.form import (
    Piece,
    WireForm,
    Written,
    answering_model,
    call_id,
    read_arguments_object,
    retry_headers,
    write_json,
)
from aquila.wire_forms.sent import SentMessage, SentRequest, SentToolCall, read_arguments, read_json, read_tool

LINES_TYPE = ("content-type", "application/x-ndjson")
_CREATED_AT = "2023-11-14T22:13:20Z"
"""The time of ``form.CREATED`` as text."""
_MILLISECOND = 1_000_000
"""In nanoseconds, the unit of Ollama's durations."""
_USUAL_ERRORS = {
    400: "invalid request",
    401: "unauthorized",
    404: "model not found, try pulling it first",
    429: "too many requests",
    503: "server busy, please try again. maximum pending requests exceeded",
}


class OllamaForm(WireForm):
    """A wire form of Ollama's."""

    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        usual = _USUAL_ERRORS.get(error.status, "internal server error")
        return write_json({"error": error.message or usual}, status=error.status, headers=retry_headers(error))

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        """Return an answer as lines: one for each piece of its content, and a last one with the counts."""
        head = {"model": answering_model(answer, sent), "created_at": _CREATED_AT}
        end = {"done": True, "done_reason": _done_reason(answer), **_write_counts(answer.usage_for(sent.http.size))}
        said = list(self._write_pieces(answer, number))
        if not sent.is_streamed:
            return write_json({**head, **self._join(said), **end})
        lines = [Piece(_line({**head, **piece, "done": False}), is_content=True) for piece in said]
        return Written(200, (LINES_TYPE,), [*lines, Piece(_line({**head, **self._join([]), **end}))])

    def _write_pieces(self, answer: Answer, number: int) -> Iterator[dict[str, Any]]:
        """Yield the content of each line."""
        raise NotImplementedError

    def _join(self, said: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the joined content of several lines."""
        raise NotImplementedError


class OllamaChat(OllamaForm):
    """``POST …/api/chat``."""

    name = "Ollama chat"
    path = "/api/chat"

    def read(self, request: RecordedRequest) -> SentRequest:
        raw = read_json(request)
        asked = mapping(raw)
        return SentRequest(
            self.name,
            model=string(asked.get("model")),
            messages=tuple(_read_message(each) for each in mappings(asked.get("messages"))),
            tools=tuple(
                read_tool(mapping(each.get("function")), "parameters") for each in mappings(asked.get("tools"))
            ),
            is_streamed=asked.get("stream") is not False,
            raw=raw,
            http=request,
        )

    def _write_pieces(self, answer: Answer, number: int) -> Iterator[dict[str, Any]]:
        for text in answer.reasoning:
            yield _message({"content": "", "thinking": text})
        for text in answer.texts_with_refusal:
            yield _message({"content": text})
        for at, call in enumerate(answer.calls):
            arguments = read_arguments_object(call, self.name)
            function = {"index": at, "name": call.name, "arguments": arguments}
            yield _message({"content": "", "tool_calls": [{"id": call_id(call, number, at), "function": function}]})

    def _join(self, said: list[dict[str, Any]]) -> dict[str, Any]:
        messages = [each["message"] for each in said]
        joined: dict[str, Any] = {"content": "".join(each["content"] for each in messages)}
        if thought := "".join(each.get("thinking", "") for each in messages):
            joined["thinking"] = thought
        if calls := [call for each in messages for call in each.get("tool_calls", ())]:
            joined["tool_calls"] = calls
        return _message(joined)


class OllamaGenerate(OllamaForm):
    """``POST …/api/generate``: it completes a prompt, and has no tools."""

    name = "Ollama generate"
    path = "/api/generate"
    has_tools = False

    def read(self, request: RecordedRequest) -> SentRequest:
        raw = read_json(request)
        asked = mapping(raw)
        system = string(asked.get("system"))
        user = SentMessage("user", string(asked.get("prompt")), parts=_images_of(asked))
        return SentRequest(
            self.name,
            model=string(asked.get("model")),
            messages=(SentMessage("system", system), user) if system else (user,),
            is_streamed=asked.get("stream") is not False,
            raw=raw,
            http=request,
        )

    def _write_pieces(self, answer: Answer, number: int) -> Iterator[dict[str, Any]]:
        for text in answer.reasoning:
            yield {"response": "", "thinking": text}
        for text in answer.texts_with_refusal:
            yield {"response": text}

    def _join(self, said: list[dict[str, Any]]) -> dict[str, Any]:
        thought = "".join(each.get("thinking", "") for each in said)
        return {"response": "".join(each["response"] for each in said), **({"thinking": thought} if thought else {})}


class OllamaEmbeddings(OllamaForm):
    """``POST …/api/embed``."""

    name = "Ollama embeddings"
    path = "/api/embed"
    kind = "embeddings"

    def read(self, request: RecordedRequest) -> SentRequest:
        """Return the content of a request, with a message for each input."""
        raw = read_json(request)
        asked = mapping(raw)
        given = asked.get("input")
        return SentRequest(
            self.name,
            model=string(asked.get("model")),
            messages=tuple(
                SentMessage("user", string(each)) for each in (given if isinstance(given, list) else [given])
            ),
            raw=raw,
            http=request,
        )

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        usage = answer.usage_for(sent.http.size)
        body: dict[str, Any] = {
            "model": answering_model(answer, sent),
            "embeddings": answer.vectors_for(len(sent.messages)),
            "total_duration": _MILLISECOND,
            "load_duration": _MILLISECOND,
        }
        if usage is not None:
            body["prompt_eval_count"] = usage.input_tokens
        return write_json(body)


def _read_message(message: dict[str, Any]) -> SentMessage:
    calls = []
    for call in mappings(message.get("tool_calls")):
        function = mapping(call.get("function"))
        arguments = read_arguments(function.get("arguments"))
        calls.append(SentToolCall(string(function.get("name")), arguments, string_or_none(call.get("id"))))
    return SentMessage(
        string(message.get("role")),
        string(message.get("content")),
        tuple(calls),
        string_or_none(message.get("tool_call_id")),
        _images_of(message),
    )


def _images_of(holder: dict[str, Any]) -> tuple[str, ...]:
    images = holder.get("images")
    return ("image",) * len(images) if isinstance(images, list) else ()


def _message(said: dict[str, Any]) -> dict[str, Any]:
    return {"message": {"role": "assistant", **said}}


def _done_reason(answer: Answer) -> str:
    return "length" if answer.finish_reason == "length" else "stop"


def _write_counts(usage: WrittenUsage | None) -> dict[str, int]:
    durations = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    counts = {} if usage is None else {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    return {**dict.fromkeys(durations, _MILLISECOND), **counts}


def _line(value: dict[str, Any]) -> bytes:
    return f"{compact_json(value)}\n".encode()
