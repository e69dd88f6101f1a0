"""Reads an answer: its JSON values, its text, its tool calls, and its finish reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aquila.cassettes.answers.answer_content import read_answer, read_events
from aquila.cassettes.answers.answer_text import join_texts

Form = Literal["json", "events", "bytes"]
"""The form of an answer: one JSON value, a stream of events, or bytes without fields."""

_KEEP_OPEN = ("ping", "keepalive")
"""The types of events that say nothing: providers send any number of them, so that no proxy closes the connection."""


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
    """Return the form of an answer's body, and its JSON values: one, or those of events that say something.

    Bytes have none.
    """
    try:
        return "json", [json.loads(body)]
    except (ValueError, RecursionError):
        events: list[Any] = [event for _, event in read_events(body)]
        said = [each for each in events if not isinstance(each, dict) or each.get("type") not in _KEEP_OPEN]
        return ("events", said) if events else ("bytes", [])


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


def read_answer_text(body: bytes) -> AnswerText:
    """Return the content of an answer's body."""
    choices = read_answer(body).choices.values()
    return AnswerText(
        join_texts(text for choice in choices for text in choice.text),
        tuple((call.name, join_texts(call.arguments)) for choice in choices for call in choice.calls.values()),
        tuple(choice.finish for choice in choices if choice.finish),
    )
