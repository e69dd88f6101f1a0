"""A provider that keeps state: it accepts only the ids that it has created."""

from __future__ import annotations

import json
import re
import secrets
import threading
from typing import Any

from tests.support.provider import USAGE, call_item, message_item, response_object
from tests.support.server import Answer, Seen, json_answer, sse

ROUNDS = 2
"""The number of tool results after which the model answers with text."""


class UnknownId(Exception):
    """A request names an id that the provider has not created."""


class StatefulApi:
    """Answers like the Responses API with files and conversations, like Chat Completions, and like MCP.

    ``given`` has the ids that it knows. ``refused`` has the unknown ids of requests.
    """

    def __init__(self) -> None:
        self.given: set[str] = set()
        self.refused: list[str] = []
        self._results: dict[str, int] = {}
        self._lock = threading.Lock()

    def restart(self) -> None:
        """Forget every id, as a provider does after some weeks."""
        self.given.clear()
        self._results.clear()

    def __call__(self, seen: Seen) -> Answer:
        with self._lock:
            try:
                return self._answer(seen)
            except UnknownId as unknown:
                self.refused.append(str(unknown))
                error = {"message": f"{unknown} not found.", "type": "invalid_request_error", "code": "not_found"}
                return json_answer({"error": error}, 404)

    def _answer(self, seen: Seen) -> Answer:
        path = seen.path.partition("?")[0]
        if path == "/v1/responses":
            return self._respond(seen.json)
        if path == "/v1/chat/completions":
            return _complete_chat(seen.json)
        if path == "/v1/files" and seen.method == "POST":
            return json_answer(
                {"id": self._give("file-"), "object": "file", "filename": "a.txt", "purpose": "user_data"}
            )
        if path == "/v1/conversations":
            return json_answer({"id": self._give("conv_"), "object": "conversation", "created_at": 1})
        if path == "/mcp":
            return self._speak_mcp(seen)
        found = re.fullmatch(r"/v1/(?:responses|files|conversations)/([^/]+)", path)
        if found is None:
            return json_answer({"error": {"message": f"no such path: {path}"}}, 405)
        self._check(found[1])
        return json_answer({"id": found[1], "object": "file", "deleted": seen.method == "DELETE"})

    def _give(self, prefix: str) -> str:
        id = prefix + secrets.token_hex(12)
        self.given.add(id)
        return id

    def _check(self, id: str) -> None:
        if id not in self.given:
            raise UnknownId(id)

    def _respond(self, body: dict[str, Any]) -> Answer:
        before = body.get("previous_response_id") or body.get("conversation")
        items = body["input"] if isinstance(body["input"], list) else []
        if before is not None:
            self._check(before)
        for item in items:
            if item.get("type") in ("reasoning", "item_reference"):
                self._check(item["id"])
            for part in item.get("content") or ():
                if isinstance(part, dict) and "file_id" in part:
                    self._check(part["file_id"])
        results = self._results.get(before or "", 0)
        results += sum(item.get("type") == "function_call_output" for item in items)
        id = self._give("resp_")
        output: list[dict[str, Any]] = []
        if body.get("reasoning"):
            output.append({"type": "reasoning", "id": self._give("rs_"), "summary": []})
        if body.get("tools") and results < ROUNDS:
            output.append(call_item("look_up", json.dumps({"word": f"word {results}"}), f"call_{secrets.token_hex(8)}"))
        else:
            output.append({**message_item(f"done after {results}"), "id": f"msg_{secrets.token_hex(8)}"})
        for key in {id, body.get("conversation")} - {None}:
            self._results[key] = results
        if not body.get("stream"):
            return json_answer({**_tool_defaults(), **response_object(output, id=id)})
        started = {**_tool_defaults(), **response_object([], "in_progress", usage=None, id=id)}
        events = [{"type": "response.created", "response": started}]
        for at, item in enumerate(output):
            events.append({"type": "response.output_item.added", "item": item, "output_index": at})
            if item["type"] == "message":
                where = {"item_id": item["id"], "output_index": at, "content_index": 0}
                delta = {"type": "response.output_text.delta", "delta": item["content"][0]["text"], "logprobs": []}
                events.append({**delta, **where})
            events.append({"type": "response.output_item.done", "item": item, "output_index": at})
        whole = {**_tool_defaults(), **response_object(output, id=id)}
        events.append({"type": "response.completed", "response": whole})
        numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
        return Answer([sse(*numbered, done=False, event=True)])

    def _speak_mcp(self, seen: Seen) -> Answer:
        message = seen.json
        if message["method"] == "initialize":
            return json_answer({"jsonrpc": "2.0", "id": message["id"], "result": {}}, mcp_session_id=self._give("mcp-"))
        self._check(seen.headers.get("mcp-session-id", "none"))
        return json_answer({"jsonrpc": "2.0", "id": message["id"], "result": {"content": message["params"]}})


def _tool_defaults() -> dict[str, Any]:
    return {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}


def _complete_chat(body: dict[str, Any]) -> Answer:
    results = sum(message["role"] == "tool" for message in body["messages"])
    message: dict[str, Any] = {"role": "assistant", "content": f"done after {results}"}
    if results < ROUNDS:
        function = {"name": "look_up", "arguments": json.dumps({"word": f"word {results}"})}
        call = {"id": f"call_{secrets.token_hex(8)}", "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [call]}
    finish = "tool_calls" if results < ROUNDS else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    head = {"id": f"chatcmpl-{secrets.token_hex(8)}", "object": "chat.completion", "created": 1, "model": "m"}
    return json_answer({**head, "choices": [choice], "usage": USAGE})
