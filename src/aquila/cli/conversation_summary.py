"""Describe what was said over a WebSocket, for people and for programs."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aquila.cassettes.codecs.answer_summary import text_of_messages
from aquila.cassettes.frames.frame import SWITCHED, Close, Frame, NotAFrame, read_frames
from aquila.cassettes.model import Interaction
from aquila.cli.output import format_count

_MOST_KINDS = 12
"""Kinds of messages that a line names."""


def frames_of(interaction: Interaction) -> list[Frame | Close] | None:
    """Return what was said in a conversation; None for what is none, was refused, or cannot be read."""
    if interaction.kind != "websocket" or interaction.response.status != SWITCHED:
        return None
    try:
        return list(read_frames(interaction.response.chunks))
    except NotAFrame:
        return None


def write_conversation(said: Sequence[Frame | Close]) -> Iterator[str]:
    """Yield what was said as lines: ``>`` begins what the client sent, ``<`` what the provider did, with its text."""
    for received, turn in itertools.groupby(said, lambda each: isinstance(each, Frame) and not each.sent):
        if received:
            frames = [each for each in turn if isinstance(each, Frame)]
            yield f"< {_name_kinds(frames)}"
            yield from (f"  {line}" for line in _text_of(frames).splitlines())
            continue
        for each in turn:
            yield _describe_close(each) if isinstance(each, Close) else f"> {_show(each)}"


def _name_kinds(frames: Sequence[Frame]) -> str:
    """Name messages by their ``type``, or by their first key. Those of one kind in a row are counted."""
    runs = [(kind, len(list(run))) for kind, run in itertools.groupby(map(_kind_of, frames))]
    named = [kind if count == 1 else f"{kind} x {count:,}" for kind, count in runs[:_MOST_KINDS]]
    more = sum(count for _, count in runs[_MOST_KINDS:])
    return ", ".join([*named, f"{more:,} more"] if more else named)


def _kind_of(frame: Frame) -> str:
    value = _parse_object(frame)
    if value:
        kind = value.get("type")
        return kind if isinstance(kind, str) else next(iter(value))
    return "text" if frame.is_text else "binary"


def _text_of(frames: Sequence[Frame]) -> str:
    if all(_parse_object(frame) is None for frame in frames):
        return "\n".join([_show(frame) for frame in frames])
    return text_of_messages([frame.data for frame in frames if _parse_object(frame) is not None])


def _show(frame: Frame) -> str:
    return frame.data.decode("utf-8", "backslashreplace") if frame.is_text else format_count(len(frame.data), "byte")


def _describe_close(close: Close) -> str:
    return f"closed by the {close.by}: {' '.join(filter(None, (str(close.code), close.reason)))}"


def _parse_object(frame: Frame) -> dict[str, Any] | None:
    try:
        value = json.loads(frame.data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def describe_frames(said: Sequence[Frame | Close]) -> list[dict[str, Any]]:
    """Return what was said as a JSON value."""
    return [_describe_frame(each) for each in said]


def _describe_frame(each: Frame | Close) -> dict[str, Any]:
    if isinstance(each, Close):
        return {"at": each.at, "by": each.by, "close": each.code, "reason": each.reason}
    by = "client" if each.sent else "provider"
    if each.is_text:
        return {"at": each.at, "by": by, "text": each.data.decode("utf-8", "backslashreplace")}
    return {"at": each.at, "by": by, "base64": base64.b64encode(each.data).decode()}


def text_said(said: Sequence[Frame | Close]) -> str:
    """Return the text of what the provider said."""
    return _text_of([each for each in said if isinstance(each, Frame) and not each.sent])


def model_named(interaction: Interaction, said: Sequence[Frame | Close]) -> str:
    """Return the model that the handshake names, or a message of the client; an empty string if none does."""
    in_query = parse_qs(urlsplit(interaction.request.url).query).get("model", [""])[0]
    for value in _sent_objects(said) if not in_query else ():
        for holder in (value, value.get("session"), value.get("response"), value.get("setup")):
            model = holder.get("model") if isinstance(holder, dict) else None
            if isinstance(model, str):
                return model
    return in_query


def asked_last(said: Sequence[Frame | Close]) -> Iterator[Any]:
    """Yield what the client asked, the last first: values of JSON that hold text, each as its protocol writes it."""
    for value in reversed(list(_sent_objects(said))):
        response, item = value.get("response"), value.get("item")
        content = value.get("client_content") or value.get("clientContent")
        yield value.get("input")  # the Responses API
        yield response.get("input") if isinstance(response, dict) else None
        yield item if isinstance(item, dict) else None  # the Realtime API
        yield content.get("turns") if isinstance(content, dict) else None  # Gemini
        yield value.get("text")


def _sent_objects(said: Sequence[Frame | Close]) -> Iterator[dict[str, Any]]:
    parsed = (_parse_object(each) for each in said if isinstance(each, Frame) and each.sent)
    return (value for value in parsed if value is not None)
