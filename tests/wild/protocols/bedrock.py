"""Bedrock's Converse, whose streams are Amazon's binary event streams."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from tests.support.upstream import Answer
from tests.wild.protocols.conversation import TEXT, WORDS, Asked, Call, whole

USAGE = {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8}
METRICS = {"latencyMs": 1}


def answer(asked: Asked) -> Answer:
    offered = [tool["toolSpec"] for tool in (asked.body.get("toolConfig") or {}).get("tools") or ()]
    call = asked.call({one["name"]: one["inputSchema"]["json"] for one in offered})
    stop = "tool_use" if call else "end_turn"
    if asked.path.endswith("-stream"):
        chunks = [_frame(name, event) for name, event in _events(call, stop)]
        return Answer(headers={"content-type": "application/vnd.amazon.eventstream"}, chunks=chunks)
    block = {"toolUse": {**_use(call), "input": call.arguments}} if call else {"text": TEXT}
    message = {"role": "assistant", "content": [block]}
    return whole({"output": {"message": message}, "stopReason": stop, "usage": USAGE, "metrics": METRICS})


def _use(call: Call) -> dict[str, Any]:
    return {"toolUseId": f"tooluse_{call.name}", "name": call.name}


def _events(call: Call | None, stop: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "messageStart", {"role": "assistant"}
    if call:
        yield "contentBlockStart", {"start": {"toolUse": _use(call)}, "contentBlockIndex": 0}
        yield "contentBlockDelta", {"delta": {"toolUse": {"input": call.json}}, "contentBlockIndex": 0}
    else:
        for word in WORDS:
            yield "contentBlockDelta", {"delta": {"text": word}, "contentBlockIndex": 0}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": stop}
    yield "metadata", {"usage": USAGE, "metrics": METRICS}


def _frame(name: str, event: dict[str, Any]) -> bytes:
    """One message: lengths, their checksum, headers, the event, and the checksum of it all."""
    headers = b"".join(
        struct.pack("!B", len(key)) + key + struct.pack("!BH", 7, len(value)) + value
        for key, value in (
            (b":event-type", name.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    payload = json.dumps(event).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))
