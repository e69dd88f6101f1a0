"""Gemini Live, at Google AI and at Google's cloud.

Source: ai.google.dev/api/live, and what the google-genai SDK 3.6 requires. Names of fields may be in camel case or in
snake case, and the provider's messages are JSON in binary frames. Sound is not transcribed: it becomes a part without
text. An answer is triggered by a text, by the end of a turn, an activity or the sound, or by a tool's response.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from aquila.cassettes.model import RecordedRequest, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Close, Frame
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
from aquila.wire_forms.form import JSON_TYPE
from aquila.wire_forms.gemini.gemini_requests import field_of

# Ten milliseconds of silence: 240 samples of 16 bits, which stand for spoken output.
_SILENCE = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(b"\0" * 480).decode()}
_SOUND = {"inlineData": {"mimeType": "audio/pcm", "data": ""}}
"""A part that stands for sound of the user in the messages of a request."""

_CLOSE_CODES = {400: 1007, 401: 1008, 403: 1008, 404: 1008}
"""The close code of a session for each error status; 1011 for any other (RFC 6455, 7.4.1)."""
_LONGEST_REASON = 120
"""The longest reason of a close, in bytes: RFC 6455 allows 123 (5.5)."""

_COUNTS = {"promptTokenCount": "promptTokenCount", "candidatesTokenCount": "responseTokenCount"}


class GeminiLive(ConversationForm):
    """A session of Gemini Live. A question is a request of ``streamGenerateContent`` with all turns so far."""

    name = "Gemini Live"

    def __init__(self, handshake: RecordedRequest) -> None:
        super().__init__(handshake)
        # Set by the first message and never changed.
        self._setup: Value | None = None
        # All turns of the conversation so far, those of the client and, by ``note_answer``, those of the model.
        self._turns: list[Value] = []
        self._has_sound = False

    def ask(self, value: Value) -> RecordedRequest:
        setup = self._setup or {}
        model = string(setup.get("model")).rpartition("/")[2] or "not-named"
        body: Value = {"contents": self._turns}
        for name in ("systemInstruction", "tools", "generationConfig"):
            if (said := field_of(setup, name)) is not None:
                body[name] = said
        host = urlsplit(self.handshake.url).netloc
        url = f"wss://{host}/v1beta/models/{quote(model, safe='')}:streamGenerateContent?alt=sse"
        return RecordedRequest("POST", url, (*self.handshake.headers, JSON_TYPE), compact_json(body).encode())

    def take(self, message: Value) -> Question | list[Frame]:
        if isinstance(setup := message.get("setup"), dict) and self._setup is None:
            self._setup = setup
            return [_write({"setupComplete": {}})]
        if self._setup is None:
            raise NotUnderstood("the first message of a session is its setup")
        for name, read in (
            ("clientContent", self._read_turns),
            ("realtimeInput", self._read_input),
            ("toolResponse", self._read_results),
        ):
            if isinstance(said := field_of(message, name), dict):
                return Question(self.ask({}), self._write_answer) if read(said) else []
        raise NotUnderstood(f"a script does not answer {', '.join(message) or 'an empty message'}")

    def _read_turns(self, said: Value) -> bool:
        turns = said.get("turns")
        self._turns += mappings(turns if isinstance(turns, list) else [turns])
        return field_of(said, "turnComplete") is True

    def _read_input(self, said: Value) -> bool:
        if text := string(said.get("text")):
            self._turns.append({"role": "user", "parts": [{"text": text}]})
            return True
        self._has_sound |= any(field_of(said, name) for name in ("audio", "video", "mediaChunks"))
        ends = field_of(said, "activityEnd") is not None or field_of(said, "audioStreamEnd") is True
        if ends and self._has_sound:
            self._turns.append({"role": "user", "parts": [_SOUND]})
            self._has_sound = False
            return True
        return False

    def _read_results(self, said: Value) -> bool:
        results = mappings(field_of(said, "functionResponses"))
        self._turns.append({"role": "user", "parts": [{"functionResponse": result} for result in results]})
        return True

    def _write_answer(self, response: RecordedResponse) -> list[Frame | Close]:
        if response.status >= 400:
            reason = string(read_error(response).get("message")).encode()[:_LONGEST_REASON].decode("utf-8", "ignore")
            return [Close("provider", _CLOSE_CODES.get(response.status, 1011), reason, response.ended)]
        return [_write(value, at) for value, at in self._messages_of(response)]

    def _messages_of(self, response: RecordedResponse) -> Iterator[tuple[Value, int]]:
        calls: list[Value] = []
        usage: Value = {}
        at, is_refused = 0, False
        for value, at in read_events(response):
            usage = mapping(value.get("usageMetadata"))
            is_refused |= "promptFeedback" in value
            for candidate in mappings(value.get("candidates")):
                if (reason := candidate.get("finishReason", "STOP")) != "STOP":
                    raise NotUnderstood(
                        f"the scripted answer ends with {reason}, which this protocol cannot express. "
                        "Leave finish= out, or use refuse()"
                    )
                for part in mappings(mapping(candidate.get("content")).get("parts")):
                    if "functionCall" in part:
                        calls.append(part["functionCall"])
                    else:
                        yield from ((content, at) for content in self._say(part))
        if calls:
            yield {"toolCall": {"functionCalls": calls}}, at
            return  # the turn continues when the client has sent the tools' results
        yield {"serverContent": {"generationComplete": True}}, at
        counts = {fields: usage[name] for name, fields in _COUNTS.items() if name in usage}
        total = {"usageMetadata": {**counts, "totalTokenCount": usage["totalTokenCount"]}} if usage else {}
        refused = {"turnCompleteReason": "PROHIBITED_INPUT_CONTENT"} if is_refused else {}
        yield {"serverContent": {"turnComplete": True, **refused}, **total}, at

    def _say(self, part: Value) -> Iterator[Value]:
        setup = self._setup or {}
        wanted = field_of(mapping(field_of(setup, "generationConfig")), "responseModalities")
        if part.get("thought") or (isinstance(wanted, list) and "TEXT" in wanted):
            yield {"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}}
            return
        yield {"serverContent": {"modelTurn": {"role": "model", "parts": [{"inlineData": _SILENCE}]}}}
        if field_of(setup, "outputAudioTranscription") is not None:
            yield {"serverContent": {"outputTranscription": {"text": part.get("text", "")}}}

    def note_answer(self, frames: Sequence[Frame]) -> None:
        parts: list[Value] = []
        for frame in frames:
            try:
                value: Any = json.loads(frame.data)
            except ValueError:  # a fault may have broken the JSON
                continue
            content = mapping(mapping(value).get("serverContent"))
            parts += [part for part in mappings(mapping(content.get("modelTurn")).get("parts")) if "text" in part]
            parts += [{"text": text} for text in [mapping(content.get("outputTranscription")).get("text")] if text]
            calls = mappings(mapping(mapping(value).get("toolCall")).get("functionCalls"))
            parts += [{"functionCall": call} for call in calls]
        if parts:
            self._turns.append({"role": "model", "parts": parts})

    def write_failure(self, *, stream_id: str | None = None) -> None:
        """Return None: Gemini Live reports a failure only by closing the session."""


def _write(value: Value, at: int = 0) -> Frame:
    return write_message(value, at)._replace(is_text=False)
