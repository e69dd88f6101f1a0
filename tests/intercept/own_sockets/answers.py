"""What the provider answers."""

from __future__ import annotations

import json

HOST = "api.openai.com"
PARTS = ["Far", " out", " at", " sea", "."]


def events(parts: list[str]) -> list[bytes]:
    chunks = [
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": part}}]}
        for part in parts
    ]
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]
