"""Event streams fold without loss."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.fold import fold, table_of
from aquila.cassettes.model import Chunk
from aquila.cassettes.unfold import unfold
from tests.support.cassettes import chunked, cut, sse_bodies


def chat_stream(tokens: list[str], obfuscation: str = "") -> bytes:
    """A chat's stream, as OpenAI writes it."""
    events = []
    for token in tokens:
        event = {
            "id": "chatcmpl-Dx0XpqH8w09uBXwq1zFGYdETjtnEl",
            "object": "chat.completion.chunk",
            "created": 1782955817,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_d0469e1700",
            "choices": [{"index": 0, "delta": {"content": token}, "logprobs": None, "finish_reason": None}],
            "usage": None,
        }
        events.append(event | ({"obfuscation": obfuscation} if obfuscation else {}))
    lines = [json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in events]
    return "".join([f"data: {line}\n\n" for line in [*lines, "[DONE]"]]).encode()


def by_event(body: bytes) -> tuple[Chunk, ...]:
    """A chunk for each event, 40 ms apart."""
    return tuple(Chunk(data, 40 * at) for at, data in enumerate(re.findall(rb"(?s).*?\n\n|.+", body)))


@settings(max_examples=400, deadline=None)
@given(chunked(sse_bodies()))
def test_any_stream_with_any_cuts_unfolds_to_the_same_chunks(chunks: tuple[Chunk, ...]) -> None:
    folded = table_of(chunks)
    if folded is not None:
        assert unfold(folded) == chunks


@settings(max_examples=200, deadline=None)
@given(st.text('daten: \n\r{}[]",1«»+s\t\\é', max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_what_only_looks_like_a_stream_is_never_changed(rest: str, positions: list[int]) -> None:
    chunks = cut(f"data: {rest}".encode() * 3, positions, [1, 2, 3, 4, 5])
    folded = table_of(chunks)
    assert folded is None or unfold(folded) == chunks


def test_a_chat_is_written_as_its_text_with_the_times() -> None:
    folded = fold(by_event(chat_stream(["The", " capital", " is", ' "Paris"'])))
    assert folded is not None
    assert folded.events == '0 a\t"The"\n40 a\t" capital"\n80 a\t" is"\n120 a\t" \\"Paris\\""\n160 =\tdata: [DONE]\n'
    assert '"delta":{"content":«content»}' in folded.templates["a"]


@pytest.mark.parametrize("obfuscation", ["", "C63rqTslF"])
def test_a_long_chat_takes_less_than_an_eighth(obfuscation: str) -> None:
    body = chat_stream([" word"] * 200, obfuscation)
    folded = fold(by_event(body))
    assert folded is not None
    assert len(folded) * 8 < len(body)
