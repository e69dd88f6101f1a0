"""Edits of Anthropic's messages.

The arguments of a tool call are a JSON object in a whole answer, and pieces of JSON text in a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aquila.cassettes.codecs.yaml.tree import Number
from aquila.faults.edits import form_edits
from aquila.faults.edits.draft import Draft, Value, number
from aquila.faults.fault import ImpossibleFault
from aquila.json_fields import mapping, mappings

_SAID = ("text", "tool_use")
_BLOCK_EVENTS = ("content_block_start", "content_block_delta", "content_block_stop")


class AnthropicMessageEdits(form_edits.FormEdits):
    """A stream has the message without content in ``message_start``, and its stop reason in ``message_delta``."""

    form = "Anthropic messages"

    def end(self, draft: Draft, reason: form_edits.Cut) -> None:
        for end in _ends(draft):
            if reason == "length":
                _set_stop_reason(end, "max_tokens", None)
            else:
                _set_stop_reason(end, "refusal", {"type": "refusal", "category": None, "explanation": None})

    def silence(self, draft: Draft, refusal: str | None) -> None:
        for end in _ends(draft):
            if refusal is None:
                _set_stop_reason(end, "end_turn", None)
            else:
                _set_stop_reason(end, "refusal", {"type": "refusal", "category": None, "explanation": refusal})
        if not draft.is_streamed:
            for value in draft.values:
                value["content"] = [block for block in mappings(value.get("content")) if block.get("type") not in _SAID]
            return
        # The blocks that stay are numbered again from 0: Anthropic's SDK takes the index as a place in a list.
        kept: dict[Any, Number] = {}
        for part in draft.parts:
            value = part.value
            if value.get("type") not in _BLOCK_EVENTS:
                continue
            index = str(value.get("index"))
            if value["type"] == _BLOCK_EVENTS[0] and mapping(value.get("content_block")).get("type") not in _SAID:
                kept[index] = number(len(kept))
            if index in kept:
                value["index"] = kept[index]
            else:
                part.remove()

    def cut_arguments(self, draft: Draft) -> None:
        index, _ = _last_call(draft)
        if not draft.is_streamed:
            raise ImpossibleFault(f"{self.form} has the arguments of a tool call as an object, which cannot be cut")
        deltas = [
            mapping(value.get("delta"))
            for value in draft.values
            if value.get("type") == "content_block_delta" and value.get("index") == index
        ]
        form_edits.cut_pieces(
            [(delta, "partial_json") for delta in deltas if isinstance(delta.get("partial_json"), str)]
        )

    def rename_tool(self, draft: Draft, name: str) -> None:
        _last_call(draft)[1]["name"] = str(name)

    def drop_call_id(self, draft: Draft) -> None:
        form_edits.drop_each([_last_call(draft)[1]], "id", form_edits.NO_ID)

    def drop_usage(self, draft: Draft) -> None:
        form_edits.drop_each(
            [*_heads(draft), *(draft.values if draft.is_streamed else ())], "usage", form_edits.NO_USAGE
        )

    def rename_model(self, draft: Draft, name: str) -> None:
        form_edits.rename_each(_heads(draft), "model", name)

    def write_error(self, before: Sequence[Value]) -> Value:
        return {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def _heads(draft: Draft) -> list[Value]:
    """Return the objects of an answer that name its model and report its input tokens."""
    if not draft.is_streamed:
        return list(draft.values)
    return [mapping(value.get("message")) for value in draft.values if value.get("type") == "message_start"]


def _ends(draft: Draft) -> list[Value]:
    """Return the objects of an answer that have its stop reason. Raises ``ImpossibleFault`` if there are none."""
    holders: list[Value] = list(draft.values)
    if draft.is_streamed:
        holders = [mapping(value.get("delta")) for value in holders if value.get("type") == "message_delta"]
    return form_edits.find_holders(holders, "stop_reason", form_edits.NO_END)


def _set_stop_reason(end: Value, reason: str, details: Value | None) -> None:
    end["stop_reason"] = reason
    if end.get("stop_sequence") is not None:
        end["stop_sequence"] = None
    if details is not None or end.get("stop_details") is not None:
        end["stop_details"] = details


def _last_call(draft: Draft) -> tuple[Any, Value]:
    """Return the last block that calls a tool, and its index in a stream. Raises ``ImpossibleFault``."""
    blocks: list[tuple[Any, Value]] = []
    for value in draft.values:
        if not draft.is_streamed:
            blocks += [(None, block) for block in mappings(value.get("content"))]
        elif value.get("type") == "content_block_start":
            blocks.append((value.get("index"), mapping(value.get("content_block"))))
    calls = [each for each in blocks if each[1].get("type") == "tool_use"]
    if not calls:
        raise ImpossibleFault(form_edits.NO_CALL)
    return calls[-1]
