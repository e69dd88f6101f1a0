"""OpenAI's list of models, as its SDK reads it."""

from __future__ import annotations

import asyncio

import openai
import pytest

from aquila.cassettes.model import RecordedRequest
from aquila.scripting.script import Script
from aquila.wire_forms.table import read_sent
from tests.wire_forms.answering import async_openai_client, openai_client


def test_models_are_listed() -> None:
    client = openai_client(Script().models("gpt-4.1", "o3"))
    listed = list(client.models.list())
    assert [(model.id, model.object) for model in listed] == [("gpt-4.1", "model"), ("o3", "model")]

    async def list_async() -> list[str]:
        async with async_openai_client(Script().models("gpt-4.1")) as client:
            return [model.id async for model in client.models.list()]

    assert asyncio.run(list_async()) == ["gpt-4.1"]


def test_one_model_is_described_and_an_unknown_one_is_not_found() -> None:
    script = Script()
    for _ in range(3):
        script.models("gpt-4.1", "meta/llama 3")
    client = openai_client(script)
    assert client.models.retrieve("gpt-4.1").id == "gpt-4.1"
    assert client.models.retrieve("meta/llama 3").id == "meta/llama 3"
    with pytest.raises(openai.NotFoundError, match="'other' does not exist") as caught:
        client.models.retrieve("other")
    assert caught.value.code == "model_not_found"
    assert script.requests[1].model == "meta/llama 3"


@pytest.mark.parametrize(
    ("method", "url", "is_own"),
    [
        ("GET", "https://api.openai.com/v1/models", True),
        ("GET", "https://api.openai.com/v1/models/", True),
        ("GET", "https://api.openai.com/v1/models/gpt-4.1?x=1", True),
        ("GET", "https://mine.openai.azure.com/openai/models?api-version=1", True),
        ("GET", "https://openrouter.ai/api/v1/models", True),
        ("GET", "https://api.deepseek.com/models", True),
        ("GET", "https://generativelanguage.googleapis.com/v1beta/openai/models", True),
        ("DELETE", "https://api.openai.com/v1/models/ft:gpt", False),
        ("POST", "https://api.openai.com/v1/models", False),
        ("GET", "https://huggingface.co/api/models", False),
        ("GET", "https://huggingface.co/api/models/gpt2", False),
        ("GET", "https://example.com/v1/my/models.json", False),
    ],
)
def test_a_list_is_known_by_its_path(method: str, url: str, is_own: bool) -> None:
    assert (read_sent(RecordedRequest(method, url)).form == "OpenAI models") is is_own


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses/compact"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/chatcmpl-1"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/audio/speech"),
        ("GET", "/v1/embeddings"),
        ("POST", "/v1/batches"),
    ],
)
def test_a_request_that_a_script_cannot_answer_is_in_no_form(method: str, path: str) -> None:
    assert read_sent(RecordedRequest(method, f"https://api.openai.com{path}")).form == ""
