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


def realtime(streamed: bool) -> RecordedRequest:
    body = {"model": "gpt-realtime", "input": HI, "tools": [{"type": "function", **FUNCTION}], "stream": streamed}
    return post("wss://api.openai.com/v1/realtime?model=gpt-realtime", body)


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


def completion(streamed: bool) -> RecordedRequest:
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": "hi", "stream": streamed}
    return post("https://api.openai.com/v1/completions", body)


def stored_response(streamed: bool) -> RecordedRequest:
    query = "?stream=true" if streamed else ""
    return RecordedRequest("GET", f"https://api.openai.com/v1/responses/resp_scripted_1{query}")


def ollama_chat(streamed: bool) -> RecordedRequest:
    tools = [{"type": "function", "function": FUNCTION}]
    return post(
        "http://localhost:11434/api/chat", {"model": "qwen3", "messages": HI, "tools": tools, "stream": streamed}
    )


def ollama_generate(streamed: bool) -> RecordedRequest:
    return post("http://localhost:11434/api/generate", {"model": "qwen3", "prompt": "hi", "stream": streamed})


def ollama_embeddings(streamed: bool) -> RecordedRequest:
    return post("http://localhost:11434/api/embed", {"model": "embeddinggemma", "input": "hi"})


def bedrock_converse(streamed: bool) -> RecordedRequest:
    tool = {"toolSpec": {"name": "weather", "description": "The weather.", "inputSchema": {"json": SCHEMA}}}
    body = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "toolConfig": {"tools": [tool]}}
    host = "https://bedrock-runtime.us-east-1.amazonaws.com"
    return post(f"{host}/model/amazon.nova-lite-v1%3A0/converse{'-stream' if streamed else ''}", body)


def anthropic_at_bedrock(streamed: bool) -> RecordedRequest:
    tool = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": HI, "tools": [tool]}
    way = "invoke-with-response-stream" if streamed else "invoke"
    host = "https://bedrock-runtime.us-east-1.amazonaws.com"
    return post(f"{host}/model/us.anthropic.claude-sonnet-4-5-v1%3A0/{way}", body)


SAMPLES: dict[str, Callable[[bool], RecordedRequest]] = {
    "OpenAI chat completions": chat_completion,
    "OpenAI completions": completion,
    "OpenAI Responses": response,
    "OpenAI Realtime": realtime,
    "OpenAI stored response": stored_response,
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
    "Ollama chat": ollama_chat,
    "Ollama generate": ollama_generate,
    "Ollama embeddings": ollama_embeddings,
    "Bedrock Converse": bedrock_converse,
    "Bedrock Anthropic messages": anthropic_at_bedrock,
}
"""By the name of the form: a function of whether the answer is to be streamed. It says ``hi``, offers ``weather``."""

_CALLED = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
_FROM_OPENAI = [
    {"role": "assistant", "content": "", "tool_calls": [_CALLED]},
    {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
]
_FROM_ANTHROPIC = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "Sunny."}]},
]
_ITEMS = [
    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Rome"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "Sunny."},
]
AFTER_A_CALL: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "OpenAI chat completions": ("messages", _FROM_OPENAI),
    "OpenAI Responses": ("input", _ITEMS),
    "OpenAI Realtime": ("input", _ITEMS),
    "Anthropic messages": ("messages", _FROM_ANTHROPIC),
    "Bedrock Anthropic messages": ("messages", _FROM_ANTHROPIC),
    "Gemini generateContent": (
        "contents",
        [
            {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}}}]},
            {"parts": [{"functionResponse": {"id": "c1", "name": "weather", "response": {"result": "Sunny."}}}]},
        ],
    ),
    "Ollama chat": (
        "messages",
        [
            {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]},
            {"role": "tool", "tool_name": "weather", "content": "Sunny."},
        ],
    ),
    "Bedrock Converse": (
        "messages",
        [
            {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Rome"}}}],
            },
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "Sunny."}]}}]},
        ],
    ),
}
"""By the name of the form: the field with the conversation, and its messages with a call of a tool and the result."""
