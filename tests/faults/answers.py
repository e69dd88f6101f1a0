"""Scripted answers of each wire form, which tests put faults into."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest
from aquila.scripting.script import Script

GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models/m"
URLS = {
    "chat": ("https://api.openai.com/v1/chat/completions",) * 2,
    "responses": ("https://api.openai.com/v1/responses",) * 2,
    "anthropic": ("https://api.anthropic.com/v1/messages",) * 2,
    "gemini": (f"{GOOGLE}:generateContent", f"{GOOGLE}:streamGenerateContent?alt=sse"),
    "gemini array": (f"{GOOGLE}:generateContent", f"{GOOGLE}:streamGenerateContent"),
}
"""Where each form is asked: whole, streamed."""

TEXT = "one two three"
ARGUMENTS = '{"city": "Ulm", "days": 2}'


def ask(form: str, *, stream: bool) -> RecordedRequest:
    """A request in a form."""
    said = [{"role": "user", "content": "hi"}]
    body = {"model": "m", "stream": stream, "messages": said, "input": "hi", "stream_options": {"include_usage": True}}
    return RecordedRequest("POST", URLS[form][stream], (), json.dumps(body).encode())


def answered(form: str, script: Script, *, stream: bool) -> Interaction:
    """What a script answers in a form."""
    request = ask(form, stream=stream)
    answer = script.decide(request)
    assert answer is not None
    return Interaction(request, answer.response)


def text_answer(form: str, *, stream: bool) -> Interaction:
    """An answer with reasoning and a text."""
    return answered(form, Script().reasoning("hm hm").reply(TEXT, first=0.1, pace=0.1), stream=stream)


def call_answer(form: str, *, stream: bool) -> Interaction:
    """An answer that calls two tools."""
    calls = ("time", {"zone": "CET"}, "id_1"), ("weather", json.loads(ARGUMENTS), "id_2")
    return answered(form, Script().tool_calls(*calls), stream=stream)


def cut_into(interaction: Interaction, sizes: Sequence[int]) -> Interaction:
    """The same answer in chunks of other sizes, again and again; each comes a millisecond after the one before."""
    body, at, chunks = interaction.response.body, 0, []
    while at < len(body):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(RecordedChunk(body[at : at + size], len(chunks)))
        at += size
    response = interaction.response
    ended = len(chunks)
    return Interaction(
        interaction.request,
        type(response)(response.status, response.headers, tuple(chunks), response.end, ended=ended),
    )
