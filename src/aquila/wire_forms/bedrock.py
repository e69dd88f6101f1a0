"""Bedrock's Converse and ConverseStream, which streams Amazon's binary frames.

Source: docs.aws.amazon.com/bedrock/latest/APIReference, API_runtime_Converse and …_ConverseStream, and what boto3 1.44
requires. The type of an event is a header of its frame. The type of an error is a header field of its response.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from aquila.cassettes.amazon_frames import AmazonFrame, write_frame
from aquila.cassettes.model import Headers, RecordedRequest
from aquila.json_fields import mapping, mappings, string, string_or_none
from aquila.wire_forms.answer import (
    Answer,
    AnsweredError,
    Finish,
    WrittenUsage,
    compact_json,
    split_arguments,
)
from aquila.wire_forms.form import (
    SIGNATURE,
    Piece,
    WireForm,
    Written,
    call_id,
    read_arguments_object,
    retry_headers,
    write_json,
)
from aquila.wire_forms.sent import SentMessage, SentRequest, SentTool, SentToolCall, read_json, text_of

FRAMES_TYPE = ("content-type", "application/vnd.amazon.eventstream")
_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream)$")
_STOP_REASONS: dict[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "refusal": "guardrail_intervened",
}
_PART_KINDS = {"image": "image", "document": "file", "audio": "audio", "video": "file"}
_USUAL_ERRORS = {
    400: ("ValidationException", "The provided request is not valid"),
    401: ("UnrecognizedClientException", "The security token included in the request is invalid."),
    403: ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
    404: ("ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."),
    408: ("ModelTimeoutException", "The request took too long to process."),
    424: ("ModelErrorException", "The request failed due to an error while processing the model."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "An internal server error occurred."),
    503: ("ServiceUnavailableException", "The service isn't currently available. Try again later."),
}
_EMPTY = AmazonFrame(0, 16, b"", b"", 16, 0)
"""A frame without headers and payload: only the lengths and checksums, which take 16 bytes."""


class BedrockConverse(WireForm):
    """``POST …/model/NAME/converse`` and ``…/converse-stream``."""

    name = "Bedrock Converse"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        return method == "POST" and _PATH.search(path) is not None

    def read(self, request: RecordedRequest) -> SentRequest:
        raw = read_json(request)
        asked = mapping(raw)
        found = _PATH.search(urlsplit(request.url).path.rstrip("/"))
        system = text_of(asked.get("system"))
        messages = [SentMessage("system", system)] if system else []
        for message in mappings(asked.get("messages")):
            messages += _read_message(message)
        specs = [mapping(each.get("toolSpec")) for each in mappings(mapping(asked.get("toolConfig")).get("tools"))]
        return SentRequest(
            self.name,
            model=unquote(found[1]) if found else "",
            messages=tuple(messages),
            tools=tuple(_read_tool(spec) for spec in specs if spec),
            is_streamed=found is not None and found[2] == "converse-stream",
            raw=raw,
            http=request,
        )

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        usage = answer.usage_for(sent.http.size) or WrittenUsage(0, 0)
        end = {"usage": _write_usage(usage), "metrics": {"latencyMs": 1}}
        if sent.is_streamed:
            events = [write_event(name, value, is_content=said) for name, value, said in _write_events(answer, number)]
            events.append(write_event("metadata", end))
            return Written(200, (FRAMES_TYPE, *request_headers(number)), events)
        message = {"role": "assistant", "content": _write_blocks(answer, number, f"{self.name} (not streamed)")}
        body = {"output": {"message": message}, "stopReason": _STOP_REASONS[answer.finish_reason], **end}
        return write_json(body, headers=request_headers(number))

    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        return write_bedrock_error(error, number)


def write_bedrock_error(error: AnsweredError, number: int) -> Written:
    """Return an error in Amazon's form, with its type in a header field."""
    usual = _USUAL_ERRORS.get(error.status, _USUAL_ERRORS[500 if error.status >= 500 else 400])
    headers = (*request_headers(number), ("x-amzn-errortype", error.type or usual[0]), *retry_headers(error))
    return write_json({"message": error.message or usual[1]}, status=error.status, headers=headers)


def request_headers(number: int) -> Headers:
    """Return the header field with the id that Amazon gives to a request."""
    return (("x-amzn-requestid", f"scripted-{number}"),)


def write_event(name: str, value: dict[str, Any], *, is_content: bool = False) -> Piece:
    """Return a frame with the event ``value`` of the type ``name``. ``is_content``: it holds output of the model."""
    fields = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        # A header of the AWS event stream encoding: length and name, the type of the value (7 is text), length and
        # value.
        struct.pack(">B", len(key)) + key.encode() + struct.pack(">BH", 7, len(text)) + text.encode()
        for key, text in fields.items()
    )
    return Piece(write_frame(_EMPTY, headers, compact_json(value).encode()), is_content)


# --- a request


def _read_message(message: dict[str, Any]) -> Iterator[SentMessage]:
    """Yield the message, after a message of its own for each result of a tool in it."""
    blocks = mappings(message.get("content"))
    results = [mapping(block["toolResult"]) for block in blocks if "toolResult" in block]
    for result in results:
        content = mappings(result.get("content"))
        said = "".join(
            string(part.get("text")) or (compact_json(part["json"]) if "json" in part else "") for part in content
        )
        yield SentMessage("tool", said, (), string_or_none(result.get("toolUseId")), _parts_of(content))
    others = [block for block in blocks if "toolResult" not in block]
    if others or not results:
        calls = [_read_call(mapping(block["toolUse"])) for block in others if "toolUse" in block]
        yield SentMessage(string(message.get("role")), text_of(others), tuple(calls), None, _parts_of(others))


def _read_call(use: dict[str, Any]) -> SentToolCall:
    return SentToolCall(string(use.get("name")), use.get("input"), string_or_none(use.get("toolUseId")))


def _parts_of(blocks: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(kind for block in blocks for name, kind in _PART_KINDS.items() if name in block)


def _read_tool(spec: dict[str, Any]) -> SentTool:
    schema = mapping(mapping(spec.get("inputSchema")).get("json"))
    return SentTool(string(spec.get("name")), string(spec.get("description")), schema)


# --- an answer


def _write_blocks(answer: Answer, number: int, form: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        thought = {"text": "".join(answer.reasoning), "signature": SIGNATURE}
        blocks.append({"reasoningContent": {"reasoningText": thought}})
    if spoken := "".join(answer.texts_with_refusal):
        blocks.append({"text": spoken})
    for at, call in enumerate(answer.calls):
        use = {"toolUseId": call_id(call, number, at, prefix="tooluse"), "name": call.name}
        blocks.append({"toolUse": {**use, "input": read_arguments_object(call, form)}})
    return blocks


def _write_events(answer: Answer, number: int) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield the type of each event, the event, and whether it holds output of the model."""
    yield "messageStart", {"role": "assistant"}, False
    index = 0
    thoughts = [{"reasoningContent": {"text": text}} for text in answer.reasoning]
    for deltas in (thoughts, [{"text": text} for text in answer.texts_with_refusal]):
        if not deltas:
            continue
        for delta in deltas:
            yield "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}, True
        if deltas is thoughts:
            signed = {"reasoningContent": {"signature": SIGNATURE}}
            yield "contentBlockDelta", {"contentBlockIndex": index, "delta": signed}, False
        yield "contentBlockStop", {"contentBlockIndex": index}, False
        index += 1
    for at, call in enumerate(answer.calls):
        use = {"toolUseId": call_id(call, number, at, prefix="tooluse"), "name": call.name}
        yield "contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": use}}, True
        for text in split_arguments(call.arguments):
            yield "contentBlockDelta", {"contentBlockIndex": index, "delta": {"toolUse": {"input": text}}}, True
        yield "contentBlockStop", {"contentBlockIndex": index}, False
        index += 1
    yield "messageStop", {"stopReason": _STOP_REASONS[answer.finish_reason]}, False


def _write_usage(usage: WrittenUsage) -> dict[str, int]:
    # Bedrock counts cached tokens separately, while in ``WrittenUsage`` they are part of the input.
    counts = {
        "inputTokens": max(0, usage.input_tokens - usage.cached_tokens),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
    }
    return {**counts, "cacheReadInputTokens": usage.cached_tokens} if usage.cached_tokens else counts
