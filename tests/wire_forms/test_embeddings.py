"""Embeddings, as OpenAI's SDK reads them."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.scripting.script import Script
from tests.wire_forms.answering import async_openai_client, openai_client

MODEL = "text-embedding-3-small"
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("one", ["one"]),
        (["one"], ["one"]),
        (["one", "two", "three"], ["one", "two", "three"]),
        ([1, 2, 3], [""]),
        ([[1, 2], [3]], ["", ""]),
        ("", [""]),
    ],
)
def test_every_input_gets_a_vector_and_the_last_one_is_for_all_further(given: Any, texts: list[str]) -> None:
    script = Script().embed([0.5, 1.0], [0.25, 2.0])
    answer = openai_client(script).embeddings.create(model=MODEL, input=given)
    vectors = [[0.5, 1.0], [0.25, 2.0], [0.25, 2.0]]
    assert [(each.index, each.embedding) for each in answer.data] == [*enumerate(vectors[: len(texts)])]
    assert [message.text for message in script.requests[0].messages] == texts
    assert answer.model_extra == {"id": "embd-scripted-1"}
    assert (answer.object, answer.model, script.requests[0].model) == ("list", MODEL, MODEL)


@given(vectors=st.lists(st.lists(NUMBERS, min_size=1, max_size=8), min_size=1, max_size=4))
def test_vectors_are_read_as_written_as_numbers_and_as_base64(vectors: list[list[float]]) -> None:
    client = openai_client(Script().embed(*vectors).embed(*vectors))
    inputs = ["x"] * len(vectors)
    packed = client.embeddings.create(model=MODEL, input=inputs)
    assert [each.embedding for each in packed.data] == vectors
    plain = client.embeddings.create(model=MODEL, input=inputs, encoding_format="float", dimensions=3)
    assert [each.embedding for each in plain.data] == vectors


def test_the_sdk_asks_for_numbers_of_32_bits() -> None:
    script = Script().embed([0.1, 1e300]).embed([0.1, 1e300])
    client = openai_client(script)
    packed = client.embeddings.create(model=MODEL, input="x").data[0].embedding
    assert packed == [pytest.approx(0.1, rel=1e-7), math.inf]
    assert json.loads(script.requests[0].body)["encoding_format"] == "base64"
    assert client.embeddings.create(model=MODEL, input="x", encoding_format="float").data[0].embedding == [0.1, 1e300]


def test_usage_is_a_token_for_every_four_bytes_of_the_request() -> None:
    script = Script().embed([1.0])

    async def ask() -> Any:
        async with async_openai_client(script) as client:
            return await client.embeddings.create(model=MODEL, input="one two three")

    usage = asyncio.run(ask()).usage
    sent = len(script.requests[0].body)
    assert usage.total_tokens == usage.prompt_tokens == sent // 4


def test_an_error_is_answered_to_a_request_for_embeddings() -> None:
    with pytest.raises(openai.RateLimitError):
        openai_client(Script().error(429)).embeddings.create(model=MODEL, input="x")
