"""OpenAI's Realtime API. Texts are answered with text, a sound with the same backwards, offered tools with a call."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from typing import Any

from tests.wild.protocols.conversation import TEXT, WORDS, Asked

PIECE = 1200
"""How many bytes of sound a message has."""


def speak(connection: Any, mishap: Callable[[Any, str], None]) -> None:
    _Conversation(connection, mishap).speak()


class _Conversation:
    def __init__(self, connection: Any, mishap: Callable[[Any, str], None]) -> None:
        self._connection = connection
        self._mishap = mishap
        self._numbers = itertools.count(1)
        self._session: dict[str, Any] = {"type": "realtime", "object": "realtime.session", "id": "sess_1"}
        self._said = ""
        self._sound = b""

    def speak(self) -> None:
        self._say("session.created", session=self._session)
        while True:
            event = json.loads(self._connection.recv(60))
            match event["type"]:
                case "session.update":
                    self._session |= event["session"]
                    self._say("session.updated", session=self._session)
                case "conversation.item.create":
                    self._said += json.dumps(event["item"])
                    self._add(event["item"])
                case "input_audio_buffer.append":
                    self._sound += base64.b64decode(event["audio"])
                case "input_audio_buffer.commit":
                    item_id = self._new("item")
                    self._say("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
                    content = [{"type": "input_audio", "transcript": None}]
                    self._add({"type": "message", "id": item_id, "role": "user", "content": content})
                case "response.create":
                    self._answer()

    def _add(self, item: dict[str, Any]) -> None:
        item = {"id": self._new("item"), "object": "realtime.item", "status": "completed", **item}
        self._say("conversation.item.added", previous_item_id=None, item=item)

    def _answer(self) -> None:
        if "Fail." in self._said:
            error = {"type": "server_error", "code": "model_busy", "message": "not now", "param": None}
            self._say("error", error={**error, "event_id": None})
            self._said = ""
            return
        response = {"id": self._new("resp"), "object": "realtime.response", "status": "in_progress", "output": []}
        self._say("response.created", response=response)
        self._mishap(self._connection, self._said)
        tools = {tool["name"]: tool.get("parameters") or {} for tool in self._session.get("tools") or ()}
        call = Asked("", {}, self._said).call(tools)
        item = {"id": self._new("item"), "object": "realtime.item", "status": "completed"}
        place = {"response_id": response["id"], "output_index": 0}
        if call:
            item |= {"type": "function_call", "name": call.name, "arguments": call.json, "call_id": f"call_{call.name}"}
        else:
            content = (
                {"type": "output_audio", "transcript": TEXT} if self._sound else {"type": "output_text", "text": TEXT}
            )
            item |= {"type": "message", "role": "assistant", "content": [content]}
        self._say("response.output_item.added", **place, item=item)
        if not call:
            place |= {"item_id": item["id"], "content_index": 0}
            self._say_pieces(place)
            place = {"response_id": response["id"], "output_index": 0}
        self._say("response.output_item.done", **place, item=item)
        self._say("response.done", response={**response, "status": "completed", "output": [item]})
        self._sound = b""

    def _say_pieces(self, place: dict[str, Any]) -> None:
        if not self._sound:
            for word in WORDS:
                self._say("response.output_text.delta", **place, delta=word)
            self._say("response.output_text.done", **place, text=TEXT)
            return
        back = self._sound[::-1]
        for start in range(0, len(back), PIECE):
            piece = base64.b64encode(back[start : start + PIECE]).decode()
            self._say("response.output_audio.delta", **place, delta=piece)
        self._say("response.output_audio.done", **place)

    def _say(self, kind: str, **fields: Any) -> None:
        self._connection.send(json.dumps({"type": kind, "event_id": self._new("event"), **fields}))

    def _new(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers)}"
