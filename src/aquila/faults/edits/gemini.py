"""Edits of answers to Gemini's ``generateContent``.

A stream is a sequence of answers, each with further parts. The arguments of a call are always a whole object.
"""

from __future__ import annotations

from collections.abc import Sequence

from aquila.faults.edits import form_edits
from aquila.faults.edits.draft import Draft, Value, number
from aquila.faults.fault import ImpossibleFault
from aquila.json_fields import mapping, mappings

_REASONS: dict[form_edits.Cut, str] = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}


class GeminiEdits(form_edits.FormEdits):
    """A refused prompt gets an answer without candidates, whose ``promptFeedback`` gives the reason."""

    form = "Gemini generateContent"

    def end(self, draft: Draft, reason: form_edits.Cut) -> None:
        for candidate in form_edits.find_holders(_candidates(draft), "finishReason", form_edits.NO_END):
            candidate["finishReason"] = _REASONS[reason]

    def silence(self, draft: Draft, refusal: str | None) -> None:
        if not _candidates(draft):
            raise ImpossibleFault("the answer has no candidates")
        if refusal is not None:
            first, *others = (part for part in draft.parts if "candidates" in part.value)
            _refuse(first.value, refusal)
            for part in others:
                part.remove()
            return
        if not any(candidate.get("finishReason") for candidate in _candidates(draft)):
            raise ImpossibleFault(form_edits.NO_END)
        for part in draft.parts:
            candidates = mappings(part.value.get("candidates"))
            is_left = not candidates
            for candidate in candidates:
                is_left |= _silence_candidate(candidate)
            if draft.is_streamed and not is_left:
                part.remove()

    def cut_arguments(self, draft: Draft) -> None:
        _last_call(draft)
        raise ImpossibleFault(f"{self.form} has the arguments of a tool call as an object, which cannot be cut")

    def rename_tool(self, draft: Draft, name: str) -> None:
        _last_call(draft)["name"] = str(name)

    def drop_call_id(self, draft: Draft) -> None:
        form_edits.drop_each([_last_call(draft)], "id", form_edits.NO_ID)

    def drop_usage(self, draft: Draft) -> None:
        form_edits.drop_each(list(draft.values), "usageMetadata", form_edits.NO_USAGE)

    def rename_model(self, draft: Draft, name: str) -> None:
        form_edits.rename_each(list(draft.values), "modelVersion", name)

    def write_error(self, before: Sequence[Value]) -> Value:
        message = "The model is overloaded. Please try again later."
        return {"error": {"code": number(503), "message": message, "status": "UNAVAILABLE"}}


def _candidates(draft: Draft) -> list[Value]:
    return [candidate for value in draft.values for candidate in mappings(value.get("candidates"))]


def _refuse(value: Value, text: str) -> None:
    """Replace the candidates by a refusal, in place, so that the other fields keep their order."""
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": text}
    rest = [(key, inner) for key, inner in value.items() if key != "promptFeedback"]
    value.clear()
    for key, inner in rest:
        if key == "candidates":
            value["promptFeedback"] = feedback
        else:
            value[key] = inner


def _silence_candidate(candidate: Value) -> bool:
    """Remove a candidate's content. Returns whether something is left: a thought, or a finish reason."""
    content = mapping(candidate.get("content"))
    thoughts = [part for part in mappings(content.get("parts")) if part.get("thought") is True]
    if thoughts:
        content["parts"] = thoughts
    else:
        content.pop("parts", None)
    if candidate.get("finishReason") is not None:
        candidate["finishReason"] = "STOP"
    return bool(thoughts) or candidate.get("finishReason") is not None


def _last_call(draft: Draft) -> Value:
    """Return the last call of a tool. Raises ``ImpossibleFault`` if there is none."""
    calls = [
        part["functionCall"]
        for candidate in _candidates(draft)
        for part in mappings(mapping(candidate.get("content")).get("parts"))
        if isinstance(part.get("functionCall"), dict)
    ]
    if not calls:
        raise ImpossibleFault(form_edits.NO_CALL)
    return mapping(calls[-1])
