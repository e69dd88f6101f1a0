"""A provider with a part of OpenAI's WebSocket protocols: Responses and Realtime.

Each conversation gets new ids, as with the real provider.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any


def _new(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


class OpenAIProvider:
    """Answers with the prompt in upper case. The prompt "weather" makes it call a tool."""

    def __init__(self) -> None:
        self._responses: set[str] = set()

    def speak(self, connection: Any) -> None:
        if connection.request.path.startswith("/v1/realtime"):
            self._speak_realtime(connection)
        else:
            self._speak_responses(connection)

    # Responses

    def _speak_responses(self, connection: Any) -> None:
        while True:
            event = json.loads(connection.recv(60))
            for answer in self._answer_create(event):
                lane = {"stream_id": event["stream_id"]} if "stream_id" in event else {}
                connection.send(json.dumps({**answer, **lane}))

    def _answer_create(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        before = event.get("previous_response_id")
        if before is not None and before not in self._responses:
            problem = {"type": "invalid_request_error", "code": "previous_response_not_found", "message": before}
            yield {"type": "error", "status": 400, "error": {**problem, "param": "previous_response_id"}}
            return
        response_id = _new("resp")
        self._responses.add(response_id)
        said = event["input"]
        base = {"id": response_id, "object": "response", "created_at": 1, "model": "m", "tools": []}
        base |= {"parallel_tool_calls": True, "tool_choice": "auto"}
        yield {
            "type": "response.created",
            "sequence_number": 0,
            "response": {**base, "status": "in_progress", "output": []},
        }
        if said == "weather":
            item: dict[str, Any] = {"type": "function_call", "id": _new("fc"), "call_id": _new("call")}
            item |= {"name": "look", "arguments": '{"at": "sky"}', "status": "completed"}
            yield {"type": "response.output_item.done", "sequence_number": 1, "output_index": 0, "item": item}
        else:
            text = said.upper() if isinstance(said, str) else f"it is {said[0]['output']}"
            item_id = _new("msg")
            place = {"item_id": item_id, "output_index": 0, "content_index": 0, "logprobs": []}
            for number, word in enumerate(text.split()):
                delta = {"type": "response.output_text.delta", "sequence_number": number + 1}
                yield {**delta, **place, "delta": f"{word} "}
            content = [{"type": "output_text", "text": text, "annotations": []}]
            item = {"type": "message", "id": item_id, "role": "assistant", "status": "completed", "content": content}
        usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}  # type: ignore[dict-item]
        whole = {**base, "status": "completed", "output": [item], "usage": usage}
        yield {"type": "response.completed", "sequence_number": 99, "response": whole}

    # Realtime

    def _speak_realtime(self, connection: Any) -> None:
        heard = b""
        text = ""
        self._say(connection, "session.created", session={"type": "realtime", "id": _new("sess")})
        while True:
            event = json.loads(connection.recv(60))
            match event["type"]:
                case "session.update":
                    self._say(connection, "session.updated", session=event["session"])
                case "conversation.item.create":
                    item = {"id": _new("item"), "object": "realtime.item", **event["item"]}
                    self._say(connection, "conversation.item.added", item=item)
                    text = item["content"][0]["text"]
                case "input_audio_buffer.append":
                    heard += base64.b64decode(event["audio"])
                case "input_audio_buffer.commit":
                    self._say(connection, "input_audio_buffer.committed", item_id=_new("item"))
                case "response.create":
                    self._answer_realtime(connection, text, heard)
                    heard, text = b"", ""

    def _answer_realtime(self, connection: Any, text: str, heard: bytes) -> None:
        response_id, item_id = _new("resp"), _new("item")
        place = {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}
        self._say(connection, "response.created", response={"id": response_id, "object": "realtime.response"})
        for word in text.upper().split():
            self._say(connection, "response.output_text.delta", delta=f"{word} ", **place)
        back = heard[::-1]
        for start in range(0, len(back), 1000):
            delta = base64.b64encode(back[start : start + 1000]).decode()
            self._say(connection, "response.output_audio.delta", delta=delta, **place)
        whole = {"id": response_id, "object": "realtime.response", "status": "completed", "output": []}
        self._say(connection, "response.done", response=whole)

    def _say(self, connection: Any, kind: str, **fields: Any) -> None:
        connection.send(json.dumps({"type": kind, "event_id": _new("event"), **fields}))
