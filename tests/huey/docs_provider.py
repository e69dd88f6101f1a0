"""What the documentation of Huey records from: a provider with a few answers."""

import json
import sys
from pathlib import Path

import httpx2

sys.path.append(str(Path(__file__).parents[2]))

from tests.support.upstream import chat_chunks

ANSWERS = {
    "harbour": "The harbour closes.",
    "Tell me about": "Eagles fly high.",
    "French": "Bonjour",
    "asks": "Very high.",
}


def handle(request):
    prompt = json.loads(request.content)["messages"][-1]["content"]
    text = next(answer for word, answer in ANSWERS.items() if word in prompt)
    chunks = b"".join(chat_chunks(text)).replace(b'"total_tokens":6', b'"total_tokens":7')
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=chunks)


def transport():
    return httpx2.MockTransport(handle)
