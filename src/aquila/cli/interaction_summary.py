"""Describe an interaction for people and for programs."""

from __future__ import annotations

from typing import Any

from aquila.cassettes.codecs.answer_summary import text_of_answer
from aquila.cassettes.matching.request_key import canonical_request
from aquila.cassettes.model import Interaction
from aquila.recording import runtime
from aquila.recording.reports import count_tokens
from aquila.recording.session_factory import match_rules_of


def status_of(interaction: Interaction) -> str:
    """Return the status, and how the answer ended if it did not end completely."""
    response = interaction.response
    status = str(response.status) if response.has_begun else "no answer,"
    return status if response.end == "complete" else f"{status} {response.end}"


def model_of(interaction: Interaction) -> str:
    """Return the model that a request names, or an empty string."""
    body = canonical_request(interaction.request, match_rules_of(runtime.current_settings())).body
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else ""


def answered_by(interaction: Interaction) -> str:
    """Return what answered: the upstream it was recorded from and the model that the answer names, as far as known.

    It tells an answer of the small local model (``local smollm2``) from one of the provider (``live gpt-4.1``).
    """
    return " ".join(filter(None, (interaction.upstream, interaction.model)))


def readable_text_of(interaction: Interaction) -> str:
    """Return the text of an answer, else the error that ended it, else an empty string."""
    return text_of_answer(interaction.response.body) or interaction.response.error


def describe_interaction(interaction: Interaction, number: int, *, full: bool = False) -> dict[str, Any]:
    """Return an interaction as a JSON value; with ``full`` its headers and bodies too."""
    request, response = interaction.request, interaction.response
    found: dict[str, Any] = {
        "number": number,
        "method": request.method,
        "url": request.url,
        "model": model_of(interaction) or None,
        "upstream": interaction.upstream or None,
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
        "text": readable_text_of(interaction),
    }
    if full:
        found["request"] = {"headers": request.headers, "body": request.body.decode("utf-8", "backslashreplace")}
        found["response"] = {
            "headers": response.headers,
            "chunks": [
                {"at": chunk.at, "data": chunk.data.decode("utf-8", "backslashreplace")} for chunk in response.chunks
            ],
        }
    return found
