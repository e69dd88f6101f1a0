"""What a model makes of a request, whatever the protocol: a text, or a call of a tool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.upstream import Answer

WORDS = ("an ", "eagle ", "flies")
TEXT = "".join(WORDS)
FACT = "it flies high"
"""What tools return. Once it is in the conversation, no tool is called any more."""

LAST_TOOL = "final_answer"
"""The tool with which agents of some frameworks end; its argument is the answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model calls."""

    name: str
    arguments: dict[str, Any]

    @property
    def json(self) -> str:
        return json.dumps(self.arguments)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its path with the query, its body parsed, and the body as text."""

    path: str
    body: dict[str, Any]
    text: str

    def call(self, tools: dict[str, dict[str, Any]]) -> Call | None:
        """The tool to call next, of those that are offered: the JSON schema of each one's arguments by its name."""
        if not tools:
            return None
        if FACT not in self.text:
            name = next(iter(tools))
            return Call(name, dict.fromkeys(tools[name].get("properties", {}), "eagle"))
        return Call(LAST_TOOL, {"answer": TEXT}) if LAST_TOOL in tools else None


def whole(body: Any, **headers: str) -> Answer:
    """An answer of one JSON value."""
    return Answer(headers={"content-type": "application/json", **headers}, chunks=[json.dumps(body).encode()])


def event_stream(*events: Any, names: bool = False, done: bool = False) -> Answer:
    """Server-sent events, each a chunk. With ``names`` each has a line ``event:`` with its ``type``."""
    chunks = []
    for event in events:
        name = f"event: {event['type']}\n" if names else ""
        chunks.append(f"{name}data: {json.dumps(event)}\n\n".encode())
    if done:
        chunks.append(b"data: [DONE]\n\n")
    return Answer(headers={"content-type": "text/event-stream"}, chunks=chunks)
