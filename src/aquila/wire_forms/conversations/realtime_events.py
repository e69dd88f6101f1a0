"""Translates an answer from the events of the Responses API to those of Realtime, whose items are nearly the same.

In a session with audio, text becomes a transcript, and the sound is a moment of silence.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from aquila.json_fields import mapping, mappings, string
from aquila.wire_forms.conversations.conversation_form import Value

Timed = tuple[Value, int]
"""An event, and its time in milliseconds."""

_SILENT_BYTES = {"audio/pcmu": b"\xff" * 80, "audio/pcma": b"\xd5" * 80}
_SILENT_PCM = b"\0" * 480
"""Ten milliseconds of silence in each audio format."""

_CALL_EVENTS = ("response.function_call_arguments.delta", "response.function_call_arguments.done")
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete"}


class RealtimeAnswer:
    """Translates one answer. ``base`` has the fields of its response that are known from the beginning.

    ``previous`` is the id of the item before it. ``keeps``: its items become part of the conversation.
    ``audio_format`` is the format of its sound, empty for an answer in text. An object is used for one answer.
    """

    def __init__(self, base: Value, *, previous: str | None, keeps: bool, audio_format: str) -> None:
        self._base = base
        self._previous = previous
        self._keeps = keeps
        self._format = audio_format
        self._calls: dict[str, Value] = {}
        self._items: list[Value] = []

    def translate(self, events: Iterable[Timed]) -> Iterator[Timed]:
        """Yield the events of Realtime for the ``events`` of a stream of the Responses API."""
        for event, at in events:
            for fields in self._translate(event):
                yield fields, at

    def _translate(self, event: Value) -> Iterator[Value]:
        kind = event["type"]
        if kind == "response.created":
            yield self._event(kind, response={**self._base, "status": "in_progress"})
        elif kind in _ENDS:
            yield self._event("response.done", response=self._end(mapping(event["response"]), _ENDS[kind]))
        elif kind == "response.in_progress" or mapping(event.get("item")).get("type") == "reasoning":
            return
        elif kind == "response.output_item.added":
            yield from self._begin_item(event)
        elif kind == "response.output_item.done":
            yield from self._end_item(event)
        elif kind in _CALL_EVENTS:
            call = self._calls[event["item_id"]]
            fields = {name: event[name] for name in ("delta", "arguments") if name in event}
            named = {"name": call["name"]} if kind.endswith("done") else {}
            yield self._event(kind, **self._place_of(event), call_id=call["call_id"], **named, **fields)
        elif ".reasoning" in kind or ".custom_tool_call" in kind:
            return  # Realtime has neither reasoning nor custom tools
        else:
            yield from self._say(kind, event)

    def _say(self, kind: str, event: Value) -> Iterator[Value]:
        place = {**self._place_of(event), "content_index": 0}
        if event.get("content_index") and kind.endswith(("part.added", "part.done")):
            return  # Realtime has one part, so a refusal behind a text continues it
        if kind in ("response.content_part.added", "response.content_part.done"):
            part = mapping(event["part"])
            said = string(part.get("text")) or string(part.get("refusal"))
            shown = {"type": "audio", "transcript": said} if self._format else {"type": "text", "text": said}
            yield self._event(kind, **place, part=shown)
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            name = "output_audio_transcript" if self._format else "output_text"
            yield self._event(f"response.{name}.delta", **place, delta=event["delta"])
            if self._format:
                silence = base64.b64encode(_SILENT_BYTES.get(self._format, _SILENT_PCM)).decode()
                yield self._event("response.output_audio.delta", **place, delta=silence)
        elif kind in ("response.output_text.done", "response.refusal.done"):
            said = string(event.get("text", event.get("refusal")))
            if self._format:
                yield self._event("response.output_audio.done", **place)
                yield self._event("response.output_audio_transcript.done", **place, transcript=said)
            else:
                yield self._event("response.output_text.done", **place, text=said)

    def _begin_item(self, event: Value) -> Iterator[Value]:
        item = self._as_item(event["item"], begun=True)
        if item["type"] == "function_call":
            self._calls[item["id"]] = item
        yield self._event("response.output_item.added", output_index=len(self._items), item=item)
        if self._keeps:
            yield {"type": "conversation.item.added", "previous_item_id": self._previous, "item": item}

    def _end_item(self, event: Value) -> Iterator[Value]:
        item = self._as_item(event["item"], begun=False)
        if self._keeps:
            yield {"type": "conversation.item.done", "previous_item_id": self._previous, "item": item}
        yield self._event("response.output_item.done", output_index=len(self._items), item=item)
        self._items.append(item)
        self._previous = item["id"]

    def _as_item(self, item: Value, *, begun: bool) -> Value:
        fields = {"id": item["id"], "object": "realtime.item", "type": item["type"], "status": item["status"]}
        if item["type"] != "message":
            fields["type"] = "function_call"
            arguments = item.get("arguments", item.get("input"))
            return {**fields, "name": item["name"], "call_id": item["call_id"], "arguments": "" if begun else arguments}
        said = "".join(string(part.get("text")) or string(part.get("refusal")) for part in mappings(item["content"]))
        kind, field = ("output_audio", "transcript") if self._format else ("output_text", "text")
        return {**fields, "role": "assistant", "content": [] if begun else [{"type": kind, field: said}]}

    def _end(self, whole: Value, status: str) -> Value:
        details: Value | None = None
        if status == "incomplete":
            details = {"type": status, "reason": mapping(whole.get("incomplete_details")).get("reason")}
        usage = whole.get("usage")
        fields = None if not isinstance(usage, dict) else write_usage(usage, speaks=bool(self._format))
        return {**self._base, "status": status, "status_details": details, "output": self._items, "usage": fields}

    def _place_of(self, event: Value) -> Value:
        return {"item_id": event["item_id"], "output_index": len(self._items)}

    def _event(self, kind: str, **fields: Any) -> Value:
        named = {} if "response" in fields else {"response_id": self._base["id"]}
        return {"type": kind, **named, **fields}


def write_usage(usage: Value, *, speaks: bool) -> Value:
    """Return the usage of the Responses API in the form of Realtime. ``speaks``: the output counts as audio."""
    said = usage["output_tokens"]
    cached = mapping(usage.get("input_tokens_details")).get("cached_tokens", 0)
    return {
        "total_tokens": usage["total_tokens"],
        "input_tokens": usage["input_tokens"],
        "output_tokens": said,
        "input_token_details": {"text_tokens": usage["input_tokens"], "audio_tokens": 0, "cached_tokens": cached},
        "output_token_details": {"text_tokens": 0 if speaks else said, "audio_tokens": said if speaks else 0},
    }
