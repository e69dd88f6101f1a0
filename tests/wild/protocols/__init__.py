"""One server of many protocols: what providers send over the wire, made by rule from what they are asked.

Every protocol says the same. Asked without tools, the answer is ``TEXT``, streamed word by word. Offered a tool, the
model calls it, until the conversation holds ``FACT``, which the tools of the clients return. A module has one protocol;
the table ``PROTOCOLS`` says which paths are its.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.support.upstream import Answer
from tests.wild.protocols import anthropic, bedrock, chat, cohere, gemini, ollama, responses
from tests.wild.protocols.conversation import Asked

Protocol = Callable[[Asked], Answer]

PROTOCOLS: dict[str, Protocol] = {
    r"/(openai/)?v1/chat/completions": chat.answer,
    r"/v1/embeddings": chat.embed,
    r"/v1/responses": responses.answer,
    r"/v1/messages": anthropic.answer,
    r"/v1(beta)?/models/[^/]+:(generateContent|streamGenerateContent)": gemini.answer,
    r"/v2/chat": cohere.answer,
    r"/model/[^/]+/converse(-stream)?": bedrock.answer,
    r"/api/(chat|generate)": ollama.answer,
}
"""A pattern of paths, and what answers them."""


def answer(path: str, body: bytes) -> Answer:
    """Answer one request as the provider whose protocol it speaks."""
    route = path.partition("?")[0]
    for pattern, protocol in PROTOCOLS.items():
        if re.fullmatch(pattern, route):
            asked: dict[str, Any] = json.loads(body) if body else {}
            return protocol(Asked(path, asked, body.decode()))
    return failure(404, f"nothing at {path}")


def failure(status: int, message: str = "not now") -> Answer:
    """A failure, with a body that holds what each of the protocols has in its own."""
    error = {"message": message, "type": "api_error", "param": None, "code": None}
    body = {"type": "error", "error": error, "message": message}
    return Answer(status, chunks=[json.dumps(body).encode()])
