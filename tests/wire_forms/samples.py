"""A usual request in each wire form, for the tests that are the same for all of them. A new form has a row here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aquila.cassettes.model import Headers, RecordedRequest

HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
VERSION = (("anthropic-version", "2023-06-01"),)
FUNCTION = {"name": "weather", "description": "The weather.", "parameters": SCHEMA}


def post(url: str, body: Any, headers: Headers = ()) -> RecordedRequest:
    """Return a request with a JSON body."""
    return RecordedRequest("POST", url, (("content-type", "application/json"), *headers), json.dumps(body).encode())


def chat_completion(streamed: bool) -> RecordedRequest:
    tools = [{"type": "function", "function": FUNCTION}]
    body = {"model": "gpt-4.1", "messages": HI, "tools": tools, "stream": streamed}
    return post("https://api.openai.com/v1/chat/completions", body)


def response(streamed: bool) -> RecordedRequest:
    body = {"model": "gpt-4.1", "input": HI, "tools": [{"type": "function", **FUNCTION}], "stream": streamed}
    return post("https://api.openai.com/v1/responses", body)


def input_tokens(streamed: bool) -> RecordedRequest:
    return post("https://api.openai.com/v1/responses/input_tokens", {"model": "gpt-4.1", "input": "hi"})


def embedding(streamed: bool) -> RecordedRequest:
    return post("https://api.openai.com/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"})


def models(streamed: bool) -> RecordedRequest:
    return RecordedRequest("GET", "https://api.openai.com/v1/models")


def anthropic_message(streamed: bool) -> RecordedRequest:
    tool = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}
    body = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": HI, "tools": [tool], "stream": streamed}
    return post("https://api.anthropic.com/v1/messages", body, VERSION)


def anthropic_token_count(streamed: bool) -> RecordedRequest:
    body = {"model": "claude-sonnet-5", "messages": HI}
    return post("https://api.anthropic.com/v1/messages/count_tokens", body, VERSION)


def anthropic_models(streamed: bool) -> RecordedRequest:
    return RecordedRequest("GET", "https://api.anthropic.com/v1/models", VERSION)


GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models"
CONTENT = {"role": "user", "parts": [{"text": "hi"}]}


def gemini_content(streamed: bool) -> RecordedRequest:
    body = {"contents": [CONTENT], "tools": [{"functionDeclarations": [FUNCTION]}]}
    method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
    return post(f"{GOOGLE}/gemini-2.5-flash:{method}", body)


def gemini_token_count(streamed: bool) -> RecordedRequest:
    return post(f"{GOOGLE}/gemini-2.5-flash:countTokens", {"contents": [CONTENT]})


def gemini_embeddings(streamed: bool) -> RecordedRequest:
    body = {"requests": [{"model": "models/gemini-embedding-001", "content": CONTENT}]}
    return post(f"{GOOGLE}/gemini-embedding-001:batchEmbedContents", body)


def gemini_models(streamed: bool) -> RecordedRequest:
    return RecordedRequest("GET", GOOGLE)


SAMPLES: dict[str, Callable[[bool], RecordedRequest]] = {
    "OpenAI chat completions": chat_completion,
    "OpenAI Responses": response,
    "OpenAI count of tokens": input_tokens,
    "OpenAI embeddings": embedding,
    "OpenAI models": models,
    "Anthropic messages": anthropic_message,
    "Anthropic count of tokens": anthropic_token_count,
    "Anthropic models": anthropic_models,
    "Gemini generateContent": gemini_content,
    "Gemini count of tokens": gemini_token_count,
    "Gemini embeddings": gemini_embeddings,
    "Gemini models": gemini_models,
}
"""By the name of the form: a function of whether the answer is to be streamed. It says ``hi``, offers ``weather``."""
