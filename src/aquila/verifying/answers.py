"""Reads an answer: its JSON values, its text, its tool calls, and its finish reason.

It knows the answers of OpenAI (chat completions, completions, responses), Anthropic, Gemini, Ollama and Bedrock's
Converse, streamed or not. For other answers the text is what ``answer_summary`` finds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aquila.cassettes.codecs.answer_summary import read_aws_frames, text_of_answer

Form = Literal["json", "events", "bytes"]
"""The form of an answer: one JSON value, a stream of events, or bytes without fields."""

_DONE = "[DONE]"
_LINE_END = re.compile(r"\r\n|\n|\r")
"""The line ends of server-sent events. ``str.splitlines`` also splits at others, which may occur within a text."""
_Unknown = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The content of an answer.

    ``calls``: tool calls, each a name and arguments as JSON. ``finish``: finish reasons.
    """

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: tuple[str, ...] = ()

    @property
    def call_names(self) -> list[str]:
        """The names of the tools that the answer calls."""
        return [name for name, _ in self.calls]


def read_values(body: bytes) -> tuple[Form, list[Any]]:
    """Return the form of an answer's body, and its JSON values: one, or one for each event; none for bytes."""
    try:
        return "json", [json.loads(body)]
    except (ValueError, RecursionError):
        pass
    try:
        # A frame of AWS begins with its length in four bytes, so with zero if it is below 16 MiB.
        events = list(read_aws_frames(body) if body.startswith(b"\0") else _read_events(body.decode()))
    except _Unknown:
        return "bytes", []
    return ("events", events) if events else ("bytes", [])


def _read_events(text: str) -> Iterator[Any]:
    """Yield the values of server-sent events, or of JSON lines. Raises ``ValueError`` for what is neither."""
    data: list[str] = []
    for line in [*_LINE_END.split(text), ""]:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").strip())
        elif line.startswith("{"):
            yield json.loads(line)
        elif not line.strip():
            joined, data = "\n".join(data), []
            if joined and joined != _DONE:
                yield json.loads(joined)


def find_error(values: Sequence[Any]) -> dict[str, Any] | None:
    """Return the error object in the body of an answer, whatever its status; None if there is none."""
    for value in values:
        if not isinstance(value, dict):
            continue
        error = value.get("error")
        if value.get("type") == "error":
            return error if isinstance(error, dict) else value
        if value.get("type") == "response.failed" or value.get("status") == "failed":
            response = value.get("response")
            error = response.get("error") if isinstance(response, dict) else error
            return error if isinstance(error, dict) else {"message": "the response failed"}
        if isinstance(error, dict):
            return error
        if isinstance(error, str) and error:  # the form of Ollama and others
            return {"message": error}
        if value.keys() == {"message"} and isinstance(value["message"], str):  # AWS names the error in a header field
            return value
    return None


def read_answer_text(form: Form, values: Sequence[Any], body: bytes) -> AnswerText:
    """Return the content of an answer. ``form`` and ``values`` are those that ``read_values`` returned for ``body``."""
    try:
        if form == "json":
            said = _read_object(values[0])
        else:
            said = _read_event_values([each for each in values if isinstance(each, dict)])
    except _Unknown:
        said = None
    return said if said is not None else AnswerText(text_of_answer(body))


def _read_object(answer: Any) -> AnswerText | None:
    if not isinstance(answer, dict):
        return None
    if isinstance(answer.get("choices"), list):
        return _read_choices(answer["choices"])
    if isinstance(answer.get("output"), list):
        return _read_response(answer)
    if isinstance(answer.get("candidates"), list) or "promptFeedback" in answer:
        return _read_candidates([answer])
    if isinstance(answer.get("content"), list):
        return _read_blocks(answer["content"], answer)
    if "done" in answer:
        return _read_lines([answer])
    if isinstance(answer.get("output"), dict):
        return _read_converse(answer["output"]["message"]["content"], answer.get("stopReason"))
    return None


def _read_event_values(events: Sequence[dict[str, Any]]) -> AnswerText | None:
    first = next(iter(events), {})
    if "choices" in first:
        return _read_choices(list(_join_chunks(events)))
    if "candidates" in first or "promptFeedback" in first:
        return _read_candidates(events)
    last = next((each["response"] for each in reversed(events) if isinstance(each.get("response"), dict)), None)
    if last is not None:
        items = [each["item"] for each in events if each.get("type") == "response.output_item.done"]
        return _read_response({**last, "output": last.get("output") or items})
    if first.get("type") == "message_start":
        return _read_block_events(events)
    if "done" in first:
        return _read_lines(events)
    if any("stopReason" in each for each in events):
        return _read_converse_events(events)
    return None


# --- OpenAI


def _read_choices(choices: Sequence[dict[str, Any]]) -> AnswerText:
    texts: list[str] = []
    calls: list[tuple[str, str]] = []
    for choice in choices:
        message = choice.get("message") or {}
        texts += _texts_of(message.get("content") or message.get("refusal") or choice.get("text") or "")
        for call in message.get("tool_calls") or ():
            function = call.get("function") or call.get("custom") or {}
            calls.append((str(function.get("name")), str(function.get("arguments", function.get("input", "")))))
    return AnswerText("".join(texts), tuple(calls), _finish(choice.get("finish_reason") for choice in choices))


def _join_chunks(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the choices that the chunks of a streamed chat completion make up."""
    joined: dict[int, dict[str, Any]] = {}
    calls: dict[tuple[int, int], dict[str, str]] = {}
    for choice in (choice for event in events for choice in event.get("choices") or ()):
        index = choice.get("index", 0)
        whole = joined.setdefault(index, {"message": {"content": ""}, "finish_reason": None})
        delta = choice.get("delta") or choice
        whole["message"]["content"] += delta.get("content") or delta.get("refusal") or delta.get("text") or ""
        whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
        for call in delta.get("tool_calls") or ():
            function = calls.setdefault((index, call.get("index", 0)), {"name": "", "arguments": ""})
            for name, text in (call.get("function") or {}).items():
                function[name] = function.get(name, "") + (text or "")
    for (index, _), function in sorted(calls.items()):
        joined[index]["message"].setdefault("tool_calls", []).append({"function": function})
    yield from (joined[index] for index in sorted(joined))


def _read_response(response: dict[str, Any]) -> AnswerText:
    texts: list[str] = []
    calls: list[tuple[str, str]] = []
    for item in response["output"]:
        if item.get("type") == "message":
            texts += _texts_of(item.get("content") or "")
        elif str(item.get("type")).endswith("_call"):
            calls.append((str(item.get("name") or item["type"]), str(item.get("arguments", item.get("input", "")))))
    reason = (response.get("incomplete_details") or {}).get("reason")
    return AnswerText("".join(texts), tuple(calls), _finish([reason or response.get("status")]))


# --- Anthropic, Gemini


def _read_blocks(blocks: Sequence[dict[str, Any]], end: dict[str, Any]) -> AnswerText:
    calls = [(str(each["name"]), json.dumps(each.get("input"))) for each in blocks if "tool_use" in str(each["type"])]
    refusal = (end.get("stop_details") or {}).get("explanation") or ""
    return AnswerText("".join(_texts_of(blocks)) + refusal, tuple(calls), _finish([end.get("stop_reason")]))


def _read_block_events(events: Sequence[dict[str, Any]]) -> AnswerText:
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, str] = {}
    end: dict[str, Any] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            block["text"] = block.get("text", "") + delta.get("text", "")
            inputs[event["index"]] = inputs.get(event["index"], "") + delta.get("partial_json", "")
        elif event["type"] == "message_delta":
            end |= {name: value for name, value in event["delta"].items() if value is not None}
    for index, text in inputs.items():
        if text:
            blocks[index]["input"] = json.loads(text)
    return _read_blocks([blocks[index] for index in sorted(blocks)], end)


def _read_candidates(chunks: Sequence[dict[str, Any]]) -> AnswerText:
    candidates = [each for chunk in chunks for each in chunk.get("candidates") or ()]
    parts = [part for each in candidates for part in (each.get("content") or {}).get("parts") or ()]
    calls = [each["functionCall"] for each in parts if "functionCall" in each]
    refusals = [chunk["promptFeedback"] for chunk in chunks if chunk.get("promptFeedback")]
    texts = _texts_of(part for part in parts if not part.get("thought"))
    return AnswerText(
        "".join([*texts, *(str(each.get("blockReasonMessage") or "") for each in refusals)]),
        tuple((str(each.get("name")), json.dumps(each.get("args"))) for each in calls),
        _finish([each.get("finishReason") or each.get("blockReason") for each in (*candidates, *refusals)]),
    )


# --- Ollama, Bedrock


def _read_lines(lines: Sequence[dict[str, Any]]) -> AnswerText:
    messages = [each["message"] if "message" in each else {"content": each.get("response")} for each in lines]
    calls = [call["function"] for each in messages for call in each.get("tool_calls") or ()]
    return AnswerText(
        "".join(str(each.get("content") or "") for each in messages),
        tuple((str(each.get("name")), json.dumps(each.get("arguments"))) for each in calls),
        _finish(each.get("done_reason") for each in lines),
    )


def _read_converse(blocks: Sequence[dict[str, Any]], stop_reason: object) -> AnswerText:
    calls = [each["toolUse"] for each in blocks if "toolUse" in each]
    return AnswerText(
        "".join(str(each.get("text") or "") for each in blocks),
        tuple((str(each.get("name")), json.dumps(each.get("input"))) for each in calls),
        _finish([stop_reason]),
    )


def _read_converse_events(events: Sequence[dict[str, Any]]) -> AnswerText:
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, str] = {}
    for event in (each for each in events if "contentBlockIndex" in each):
        index, delta = event["contentBlockIndex"], event.get("delta") or {}
        block = blocks.setdefault(index, dict(event.get("start") or {}))
        block["text"] = block.get("text", "") + delta.get("text", "")
        inputs[index] = inputs.get(index, "") + (delta.get("toolUse") or {}).get("input", "")
    for index, block in blocks.items():
        if "toolUse" in block:
            block["toolUse"] = {**block["toolUse"], "input": json.loads(inputs[index] or "{}")}
    stop = next(each["stopReason"] for each in events if "stopReason" in each)
    return _read_converse([blocks[index] for index in sorted(blocks)], stop)


def _texts_of(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(part.get("text") or part.get("refusal") or "") for part in content]


def _finish(reasons: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(each) for each in reasons if each)
