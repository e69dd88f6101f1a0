"""Describes conversations over WebSockets, for people and programs."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aquila.cassettes.answers.transcript import read_object
from aquila.cassettes.model import Interaction
from aquila.cassettes.web_socket_frames.frame import Close, Frame


def describe_frames(said: Sequence[Frame | Close]) -> list[dict[str, Any]]:
    """Return the messages of a conversation as a JSON value."""
    return [_describe_frame(each) for each in said]


def _describe_frame(each: Frame | Close) -> dict[str, Any]:
    if isinstance(each, Close):
        return {"at": each.at, "by": each.by, "close": each.code, "reason": each.reason}
    by = "client" if each.sent else "provider"
    if each.is_text:
        return {"at": each.at, "by": by, "text": each.data.decode("utf-8", "backslashreplace")}
    return {"at": each.at, "by": by, "base64": base64.b64encode(each.data).decode()}


def model_named(interaction: Interaction, said: Sequence[Frame | Close]) -> str:
    """Return the model that the handshake or a message of the client names; an empty text if none does."""
    in_query = parse_qs(urlsplit(interaction.request.url).query).get("model", [""])[0]
    for value in _sent_objects(said) if not in_query else ():
        for holder in (value, value.get("session"), value.get("response"), value.get("setup")):
            model = holder.get("model") if isinstance(holder, dict) else None
            if isinstance(model, str):
                return model
    return in_query


def asked_last(said: Sequence[Frame | Close]) -> Iterator[Any]:
    """Yield the client's questions, the last one first.

    Each is a JSON value that holds text in the form of its protocol, or None.
    """
    for value in reversed(list(_sent_objects(said))):
        response, item = value.get("response"), value.get("item")
        content = value.get("client_content") or value.get("clientContent")
        yield value.get("input")  # the Responses API
        yield response.get("input") if isinstance(response, dict) else None
        yield item if isinstance(item, dict) else None  # the Realtime API
        yield content.get("turns") if isinstance(content, dict) else None  # Gemini
        yield value.get("text")


def _sent_objects(said: Sequence[Frame | Close]) -> Iterator[dict[str, Any]]:
    parsed = (read_object(each) for each in said if isinstance(each, Frame) and each.sent)
    return (value for value in parsed if value is not None)
