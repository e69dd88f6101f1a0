"""Describes an interaction, for people and programs."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aquila.cassettes.answers.answer_content import model_of_answer
from aquila.cassettes.answers.answer_text import text_of_answer
from aquila.cassettes.answers.transcript import read_object, text_said
from aquila.cassettes.matching.request_key import canonical_request
from aquila.cassettes.model import Interaction
from aquila.cassettes.web_socket_frames.frame import Close, Frame, frames_of
from aquila.recording import runtime
from aquila.recording.reporting.played_answers import count_tokens
from aquila.recording.sessions.session_factory import match_rules_of
from aquila.recording.storing.recording_age import age_in_days


def model_of(interaction: Interaction) -> str:
    """Return the model that a request names, or an empty string."""
    if interaction.kind == "websocket":
        return _model_named(interaction, frames_of(interaction) or ())
    body = _body_of(interaction)
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else ""


def prompt_of(interaction: Interaction) -> str:
    """Return the text of the last message in a request to a model; empty for any other request."""
    said = frames_of(interaction)
    if said is not None:
        return next(filter(None, map(_text_of, _asked_last(said))), "")
    body = _body_of(interaction)
    if not isinstance(body, dict):
        return ""
    # OpenAI's chat and Anthropic, the Responses API and embeddings, Google, older completions, audio.
    return next(filter(None, (_text_of(body.get(name)) for name in ("messages", "input", "contents", "prompt"))), "")


_DEEPEST = 8


def _text_of(value: Any, depth: int = 0) -> str:
    """Return the text of a message or of its parts. For a list of messages, it is that of the last one with text."""
    if isinstance(value, str):
        return value
    if depth > _DEEPEST:
        return ""
    if isinstance(value, dict):
        return next(filter(None, (_text_of(value.get(name), depth + 1) for name in ("text", "content", "parts"))), "")
    if not isinstance(value, list):
        return ""
    texts = [_text_of(item, depth + 1) for item in value]
    is_parts = any(isinstance(item, dict) and "text" in item for item in value)
    return " ".join(filter(None, texts)) if is_parts else next(filter(None, reversed(texts)), "")


def _body_of(interaction: Interaction) -> Any:
    rules = match_rules_of(runtime.current_settings()).without_placeholders()
    return canonical_request(interaction.request, rules).body


def with_provenance(interaction: Interaction) -> Interaction:
    """Return an interaction of another recorder with the time and the model that its answer names; others unchanged."""
    if interaction.upstream:
        return interaction
    body = interaction.response.body
    moment = interaction.recorded or _moment_of(interaction.response.first_header("date"), body)
    return replace(interaction, recorded=moment, model=interaction.model or model_of_answer(body))


_CREATED = re.compile(rb'"created(?:_at)?": ?(1[0-9]{9})\b')
"""The field in which a provider gives the time of an answer, in seconds since 1970."""
_BEGINNING = 4096


def _moment_of(date: str, body: bytes) -> str:
    """Return the time in a ``date`` header field, or else in an answer, in ISO 8601; empty if there is none."""
    created = _CREATED.search(body[:_BEGINNING])
    try:
        moment = parsedate_to_datetime(date)
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):  # no date, or an impossible one
        if created is None:
            return ""
        moment = datetime.fromtimestamp(int(created[1]), UTC)
    return f"{moment.replace(microsecond=0, tzinfo=None).isoformat()}Z"


def answered_by(interaction: Interaction) -> str:
    """Return the upstream of a recording and the model that its answer names, as far as they are known.

    An answer of the small local model is ``local smollm2``, for example, and one of the provider ``live gpt-4.1``.
    """
    return " ".join(filter(None, (interaction.upstream, _answering_model_of(interaction))))


def _answering_model_of(interaction: Interaction) -> str:
    """Return the model that an answer names; in a conversation without one, the model that the client named."""
    return interaction.model or (model_of(interaction) if interaction.kind == "websocket" else "")


def day_of(recorded: str) -> str:
    """Return the day of a time of recording, or ``-`` if it is unknown."""
    return recorded[:10] or "-"


def days_since(recorded: str) -> int | None:
    """Return how many whole days have passed since a time of recording, or None if it is unknown."""
    days = age_in_days(recorded)
    return None if days is None else max(0, int(days))


def format_age(recorded: str) -> str:
    """Return the age of a recording for people, such as ``412 d``, or ``-`` if it is unknown."""
    days = days_since(recorded)
    return "-" if days is None else f"{days:,} d"


def readable_text_of(interaction: Interaction) -> str:
    """Return the text of an answer, or the error that ended it if there is no text; empty without both."""
    said = frames_of(interaction)
    if said is not None:
        return text_said(said) or interaction.response.error
    return text_of_answer(interaction.response.body) or interaction.response.error


def describe_interaction(interaction: Interaction, number: int, *, full: bool = False) -> dict[str, Any]:
    """Return an interaction as a JSON value; with ``full`` its headers and bodies too."""
    request, response = interaction.request, interaction.response
    found: dict[str, Any] = {
        "number": number,
        "kind": interaction.kind,
        "method": request.method,
        "url": request.url,
        "model": model_of(interaction) or None,
        "prompt": prompt_of(interaction) or None,
        "upstream": interaction.upstream or None,
        "answering_model": _answering_model_of(interaction) or None,
        "answered_by": answered_by(interaction) or None,
        "status": response.status if response.has_begun else None,
        "end": response.end,
        "error": response.error or None,
        "attempts": response.attempts or None,
        "chunks": len(response.chunks),
        "tokens": count_tokens(interaction),
        "started": response.started,
        "ended": response.ended,
        "recorded": interaction.recorded or None,
        "age_days": days_since(interaction.recorded),
        "text": readable_text_of(interaction),
    }
    if full:
        found["request"] = {"headers": request.headers, "body": request.body.decode("utf-8", "backslashreplace")}
        found["response"] = {"headers": response.headers, **_describe_content(interaction)}
    return found


def _describe_content(interaction: Interaction) -> dict[str, Any]:
    said = frames_of(interaction)
    if said is not None:
        return {"frames": [_describe_frame(each) for each in said]}
    chunks = interaction.response.chunks
    return {"chunks": [{"at": one.at, "data": one.data.decode("utf-8", "backslashreplace")} for one in chunks]}


def _describe_frame(each: Frame | Close) -> dict[str, Any]:
    if isinstance(each, Close):
        return {"at": each.at, "by": each.by, "close": each.code, "reason": each.reason}
    by = "client" if each.sent else "provider"
    if each.is_text:
        return {"at": each.at, "by": by, "text": each.data.decode("utf-8", "backslashreplace")}
    return {"at": each.at, "by": by, "base64": base64.b64encode(each.data).decode()}


def _model_named(interaction: Interaction, said: Sequence[Frame | Close]) -> str:
    """Return the model that the handshake or a message of the client names; an empty text if none does."""
    in_query = parse_qs(urlsplit(interaction.request.url).query).get("model", [""])[0]
    for value in _sent_objects(said) if not in_query else ():
        for holder in (value, value.get("session"), value.get("response"), value.get("setup")):
            model = holder.get("model") if isinstance(holder, dict) else None
            if isinstance(model, str):
                return model
    return in_query


def _asked_last(said: Sequence[Frame | Close]) -> Iterator[Any]:
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
