"""OpenAI's Realtime API: a session, the items of its conversation, and the answers.

Source: platform.openai.com/docs/api-reference/realtime, and the types of the openai SDK 3.57. Sound is not transcribed:
it becomes an item without a transcript. Voice activity is not detected, so no answer begins before the client asks.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aquila.cassettes.model import RecordedRequest, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Frame
from aquila.json_fields import mapping, mappings, string
from aquila.wire_forms.answer import compact_json
from aquila.wire_forms.conversations.conversation_form import (
    ConversationForm,
    NotUnderstood,
    Question,
    Value,
    read_error,
    read_events,
    write_message,
)
from aquila.wire_forms.conversations.realtime_events import RealtimeAnswer, Timed
from aquila.wire_forms.form import JSON_TYPE

_ANSWER_FIELDS = (
    *("instructions", "tools", "tool_choice", "output_modalities", "max_output_tokens", "prompt", "reasoning"),
)
"""The fields by which a session, or a ``response.create``, describes the answers that it wants."""

_ITEM_ENDS = ("conversation.item.done", "response.output_item.done")


class RealtimeConversation(ConversationForm):
    """A session of Realtime. A ``response.create`` is a question with all items of the conversation."""

    name = "OpenAI Realtime"

    def __init__(self, handshake: RecordedRequest) -> None:
        super().__init__(handshake)
        query = parse_qs(urlsplit(handshake.url).query)
        (model, *_) = query.get("model") or query.get("deployment") or [""]
        self._session: Value = {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_scripted_1",
            "model": model,
            "output_modalities": ["audio"],
            "instructions": "",
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"}},
        }
        self._items: list[Value] = []
        self._has_sound = False
        self._ids = itertools.count(1)

    def greet(self) -> list[Frame]:
        return self._write_events([{"type": "session.created", "session": self._session}])

    def ask(self, value: Value) -> RecordedRequest:
        asked = {name: self._session[name] for name in _ANSWER_FIELDS if name in self._session} | value
        given = asked.pop("input", None)
        items = self._items if given is None else [self._find(item) for item in mappings(given)]
        body = {"model": self._session["model"], "input": [_as_input(item) for item in items], **asked, "stream": True}
        headers = (*self.handshake.headers, JSON_TYPE)
        return RecordedRequest("POST", self.handshake.url, headers, compact_json(body).encode())

    def take(self, message: Value) -> Question | list[Frame]:
        kind = string(message.get("type"))
        if kind == "response.create":
            return self._ask_for_answer(mapping(message.get("response")))
        known = self._handlers.get(kind)
        if known is None:
            raise NotUnderstood(f"a script does not answer {kind!r}")
        return self._write_events(known(self, message))

    # --- the session and its items

    def _update_session(self, message: Value) -> list[Value]:
        changed = mapping(message.get("session"))
        if changed.get("type") == "transcription":
            raise NotUnderstood("a script cannot transcribe sound")
        self._session = _merge(self._session, changed)
        return [{"type": "session.updated", "session": self._session}]

    def _create_item(self, message: Value) -> list[Value]:
        item = {"object": "realtime.item", "status": "completed", **mapping(message.get("item"))}
        item["id"] = string(item.get("id")) or f"item_scripted_{next(self._ids)}"
        return self._add_item(item, message.get("previous_item_id"))

    def _add_item(self, item: Value, after: Any = None) -> list[Value]:
        place = len(self._items) if after is None else 0 if after == "root" else self._place_of(after) + 1
        previous = self._items[place - 1]["id"] if place else None
        self._items.insert(place, item)
        fields = {"previous_item_id": previous, "item": _without_audio(item)}
        return [{"type": f"conversation.item.{each}", **fields} for each in ("added", "done")]

    def _delete_item(self, message: Value) -> list[Value]:
        del self._items[self._place_of(message.get("item_id"))]
        return [{"type": "conversation.item.deleted", "item_id": message["item_id"]}]

    def _retrieve_item(self, message: Value) -> list[Value]:
        return [{"type": "conversation.item.retrieved", "item": self._items[self._place_of(message.get("item_id"))]}]

    def _truncate_item(self, message: Value) -> list[Value]:
        place = self._place_of(message.get("item_id"))
        parts = mappings(self._items[place].get("content"))
        if not any(part.get("type") == "output_audio" for part in parts):
            problem = "Only model output audio messages can be truncated"
            return [_write_error("unsupported_content_type", problem, message)]
        # It is not known which words were heard before the sound was cut, so the provider forgets the transcript.
        self._items[place] = {**self._items[place], "content": [_without(part, "transcript") for part in parts]}
        fields = {name: message.get(name, 0) for name in ("item_id", "content_index", "audio_end_ms")}
        return [{"type": "conversation.item.truncated", **fields}]

    def _place_of(self, item_id: Any) -> int:
        place = next((at for at, item in enumerate(self._items) if item["id"] == item_id), None)
        if place is None:
            raise NotUnderstood(f"the conversation has no item {item_id!r}")
        return place

    def _find(self, item: Value) -> Value:
        return self._items[self._place_of(item.get("id"))] if item.get("type") == "item_reference" else item

    def _append_sound(self, message: Value) -> list[Value]:
        self._has_sound = True
        return []

    def _clear_sound(self, message: Value) -> list[Value]:
        self._has_sound = False
        return [{"type": "input_audio_buffer.cleared"}]

    def _commit_sound(self, message: Value) -> list[Value]:
        if not self._has_sound:
            problem = "Error committing input audio buffer: the buffer is empty."
            return [_write_error("input_audio_buffer_commit_empty", problem, message)]
        self._has_sound = False
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": f"item_scripted_{next(self._ids)}", "object": "realtime.item", "type": "message"}
        item |= {"status": "completed", "role": "user", "content": content}  # type: ignore[dict-item]
        added = self._add_item(item)
        fields = {"previous_item_id": added[0]["previous_item_id"], "item_id": item["id"]}
        return [{"type": "input_audio_buffer.committed", **fields}, *added]

    _handlers: Mapping[str, Callable[[RealtimeConversation, Value], list[Value]]] = {
        "session.update": _update_session,
        "conversation.item.create": _create_item,
        "conversation.item.delete": _delete_item,
        "conversation.item.retrieve": _retrieve_item,
        "conversation.item.truncate": _truncate_item,
        "input_audio_buffer.append": _append_sound,
        "input_audio_buffer.commit": _commit_sound,
        "input_audio_buffer.clear": _clear_sound,
    }

    # --- answers

    def _ask_for_answer(self, asked: Value) -> Question:
        request = self.ask(
            {name: value for name, value in asked.items() if name in (*_ANSWER_FIELDS, "input", "metadata")}
        )
        return Question(request, lambda response: self._write_answer(response, asked))

    def _write_answer(self, response: RecordedResponse, asked: Value) -> list[Frame]:
        wanted = _merge(self._session, asked)
        keeps = asked.get("conversation") != "none"
        modalities = wanted.get("output_modalities")
        speaks = isinstance(modalities, list) and "audio" in modalities
        output = mapping(mapping(wanted.get("audio")).get("output"))
        base = {
            "object": "realtime.response",
            "id": "",
            "status_details": None,
            "output": [],
            "conversation_id": "conv_scripted_1" if keeps else None,
            "output_modalities": ["audio"] if speaks else ["text"],
            "max_output_tokens": wanted.get("max_output_tokens"),
            "metadata": asked.get("metadata"),
            "usage": None,
        }
        if speaks:
            base["audio"] = {"output": output}
        if response.status >= 400:
            return self._write_failed_response(response, base)
        events = list(read_events(response))
        base["id"] = mapping(events[0][0].get("response")).get("id")
        answer = RealtimeAnswer(
            base,
            previous=self._items[-1]["id"] if self._items else None,
            keeps=keeps,
            audio_format=(string(mapping(output.get("format")).get("type")) or "audio/pcm") if speaks else "",
        )
        return _write_timed(answer.translate(events), string(base["id"]))

    def _write_failed_response(self, response: RecordedResponse, base: Value) -> list[Frame]:
        error = read_error(response)
        response_id = f"resp_failed_{response.first_header('x-request-id').rpartition('_')[2]}"
        if response.status == 429 or response.status >= 500:  # trouble of the provider: the response fails
            begun = {**base, "id": response_id, "status": "in_progress"}
            details = {name: error.get(name) for name in ("type", "code", "message")}
            failed = {**begun, "status": "failed", "status_details": {"type": "failed", "error": details}}
            fields = [{"type": "response.created", "response": begun}, {"type": "response.done", "response": failed}]
        else:  # a mistake in the client's message
            fields = [_write_error(error.get("code"), string(error.get("message")), {}, string(error.get("type")))]
        return _write_timed(((event, response.ended) for event in fields), response_id)

    def write_failure(self, *, stream_id: str | None = None) -> Frame:
        problem = "The server had an error while processing your request."
        (frame,) = self._write_events([_write_error(None, problem, {}, "server_error")])
        return frame

    def note_answer(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if b'"conversation.item.done"' in frame.data[:40] and (item := _read_event(frame).get("item")):
                self._items.append(item)

    def cancels(self, message: Value) -> bool:
        return message.get("type") == "response.cancel"

    def cancel(self, message: Value, undelivered: Sequence[Frame]) -> list[Frame]:
        events = [_read_event(frame) for frame in undelivered]
        span = _find_answer(events, message.get("response_id"))
        if span is None:
            problem = "Cancellation failed: no active response found"
            return [*undelivered, *self._write_events([_write_error("response_cancel_not_active", problem, message)])]
        begin, end = span
        response = mapping(events[end].get("response"))
        output = mappings(response.get("output"))
        lost = {mapping(event.get("item")).get("id") for event in events[begin:end] if event.get("type") in _ITEM_ENDS}
        lost &= {item.get("id") for item in output}
        self._items = [item for item in self._items if item["id"] not in lost]
        details = {"type": "cancelled", "reason": "client_cancelled"}
        said = [item for item in output if item.get("id") not in lost]
        cancelled = {**response, "status": "cancelled", "status_details": details, "output": said, "usage": None}
        fields = [events[begin]] if events[begin].get("type") == "response.created" else []
        fields.append({"type": "response.done", "response": cancelled})
        # Frames behind the answer need not wait for its end any more, so they move forward by the time that is saved.
        moment = undelivered[begin - 1].at if begin else 0
        saved = undelivered[end].at - moment
        later = [frame._replace(at=frame.at - saved) for frame in undelivered[end + 1 :]]
        return [*undelivered[:begin], *(frame._replace(at=moment) for frame in self._write_events(fields)), *later]

    def _write_events(self, events: Sequence[Value]) -> list[Frame]:
        return [write_message(_named(event, f"event_scripted_{next(self._ids)}")) for event in events]


def _read_event(frame: Frame) -> Value:
    with suppress(ValueError):  # a fault may have broken the JSON
        return mapping(json.loads(frame.data))
    return {}


def _find_answer(events: Sequence[Value], response_id: Any) -> tuple[int, int] | None:
    """Return where an answer begins and ends among events: the one with ``response_id``; the first one for None."""
    begin = 0
    for at, event in enumerate(events):
        response = mapping(event.get("response"))
        if event.get("type") == "response.created":
            begin = at
        elif event.get("type") == "response.done":
            if response_id is None or response.get("id") == response_id:
                return begin, at
            begin = at + 1
    return None


def _write_timed(events: Iterable[Timed], response_id: str) -> list[Frame]:
    prefix = f"event_{response_id.removeprefix('resp_')}"
    return [write_message(_named(event, f"{prefix}_{number}"), at) for number, (event, at) in enumerate(events)]


def _named(event: Value, event_id: str) -> Value:
    return {"type": event["type"], "event_id": event_id, **event}


def _write_error(code: Any, text: str, message: Value, kind: str = "invalid_request_error") -> Value:
    error = {"type": kind, "code": code, "message": text, "param": None, "event_id": message.get("event_id")}
    return {"type": "error", "error": error}


def _merge(before: Value, changed: Value) -> Value:
    """Return ``before`` with the values of ``changed``; objects that both have are merged in the same way."""
    merged = dict(before)
    for name, value in changed.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _without(part: Value, left_out: str) -> Value:
    return {name: value for name, value in part.items() if name != left_out}


def _without_audio(item: Value) -> Value:
    parts = [_without(part, "audio") for part in mappings(item.get("content"))]
    return {**item, "content": parts} if parts else item


def _as_input(item: Value) -> Value:
    """Return an item in the form of the Responses API, in which the transcript of sound is its text."""
    item = _without_audio(item)
    parts = mappings(item.get("content"))
    if not parts:
        return item
    return {
        **item,
        "content": [{"text": part["transcript"], **part} if part.get("transcript") else part for part in parts],
    }
