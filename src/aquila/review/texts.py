"""Requests and answers as texts that people can compare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aquila.cassettes.answers.transcript import text_said, write_transcript
from aquila.cassettes.matching.body_lines import render_body
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import canonical_request
from aquila.cassettes.model import Interaction
from aquila.cassettes.web_socket_frames.frame import Frame, frames_of
from aquila.verifying.answers import read_answer_text, read_values
from aquila.wire_forms.sent import SentMessage, SentRequest, SentToolCall
from aquila.wire_forms.table import read_sent

_MOST_SHOWN = 20_000
"""The greatest number of characters that are shown of an answer in an unknown form, and of bytes of a whole answer."""


def tell_prompt(interaction: Interaction) -> str:
    """Return the messages of a request, each after its role; for an unknown form, the lines of its body."""
    said = frames_of(interaction)
    if said is not None:
        return "\n".join(write_transcript(each for each in said if isinstance(each, Frame) and each.sent))
    sent = read_sent(interaction.request)
    if has_messages(sent):
        return "\n\n".join(_tell_message(each) for each in sent.messages)
    return "\n".join(render_body(canonical_request(interaction.request, MatchRules())))


def has_messages(sent: SentRequest) -> bool:
    """Whether a request is in a form whose messages are known."""
    return any(each.text or each.tool_calls or each.parts for each in sent.messages)


def _tell_message(message: SentMessage) -> str:
    lines = [message.text] if message.text else []
    lines += [_tell_call(each) for each in message.tool_calls]
    lines += [f"({part})" for part in message.parts]
    return f"{message.role}: " + "\n".join(lines)


def _tell_call(call: SentToolCall) -> str:
    arguments = call.arguments if isinstance(call.arguments, str) else _write_json(call.arguments or {})
    return f"{call.name}({arguments})"


def tell_answer(interaction: Interaction) -> str:
    """Return the text and tool calls of an answer; if it has neither, its error or its body."""
    said = frames_of(interaction)
    response = interaction.response
    if said is not None:
        return text_said(said) or response.error
    body = response.body
    answered = read_answer_text(body)
    lines = [answered.text] if answered.text else []
    lines += [f"{name}({arguments})" for name, arguments in answered.calls]
    if lines:
        return "\n".join(lines)
    if response.error or not body:
        return response.error
    return _tell_body(interaction)


def _tell_body(interaction: Interaction) -> str:
    body = interaction.response.body
    text = "\n".join(_write_json(each, indent=2) for each in read_values(body)[1])
    if not text:
        kind = interaction.response.first_header("content-type").partition(";")[0] or "no type"
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return f"({len(body):,} bytes of {kind})"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}\n… and {len(text) - _MOST_SHOWN:,} characters"


def tell_details(interaction: Interaction) -> Iterator[str]:
    """Yield the lines of a whole recording: the request with header fields and body, then the answer with its own."""
    request, response = interaction.request, interaction.response
    yield f"{request.method} {request.url}"
    yield from (f"  {name}: {value}" for name, value in request.headers)
    yield from render_body(canonical_request(request, MatchRules()))
    yield ""
    yield f"{response.status or 'no answer'} {response.end} {response.error}".rstrip()
    yield from (f"  {name}: {value}" for name, value in response.headers)
    body = b"".join(chunk.data for chunk in response.chunks)
    yield from body[:_MOST_SHOWN].decode("utf-8", "backslashreplace").split("\n")
    if len(body) > _MOST_SHOWN:
        yield f"… and {len(body) - _MOST_SHOWN:,} more bytes"


def _write_json(value: Any, *, indent: int | None = None) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    except (ValueError, RecursionError):
        return repr(value)[:_MOST_SHOWN]
