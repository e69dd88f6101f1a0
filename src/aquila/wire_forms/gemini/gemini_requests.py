"""Reads requests in Gemini's forms. Names of fields may be in camel case or in snake case."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from aquila.cassettes.model import RecordedRequest
from aquila.json_fields import mapping, mappings, string, string_or_none
from aquila.wire_forms.sent import SentMessage, SentRequest, SentTool, SentToolCall, read_json

_PATH = re.compile(r".*/(?:models|tunedModels|endpoints)/([^/:]+):(\w+)")
_ROLES = {"model": "assistant", "function": "tool", "": "user"}
_MEDIA = {"image": "image", "audio": "audio"}


def read_gemini_path(path: str) -> tuple[str, str]:
    """Return the model and the method that a path names: ``…/models/MODEL:METHOD``. Both are "" for another path."""
    found = _PATH.fullmatch(path)
    return (unquote(found[1]), found[2]) if found is not None else ("", "")


def read_gemini_request(name: str, request: RecordedRequest, *, is_streamed: bool = False) -> SentRequest:
    """Return the content of a request with a conversation. ``name`` is that of the wire form."""
    raw = read_json(request)
    asked = mapping(raw)
    wrapped = mapping(field_of(asked, "generateContentRequest"))  # countTokens may wrap the whole request
    asked = {**wrapped, **asked}
    system = field_of(asked, "systemInstruction")
    messages = [] if system is None else [SentMessage("system", text_of_content(system))]
    for content in mappings(asked.get("contents")):
        messages += _read_content(content)
    return SentRequest(
        name,
        model=model_of(request),
        messages=tuple(messages),
        tools=tuple(each for tool in mappings(asked.get("tools")) for each in _read_tools(tool)),
        is_streamed=is_streamed,
        raw=raw,
        http=request,
    )


def model_of(request: RecordedRequest) -> str:
    """Return the model that the path of a request names."""
    return read_gemini_path(urlsplit(request.url).path.rstrip("/"))[0]


def field_of(holder: dict[str, Any], name: str) -> Any:
    """Return the field ``name``, given in camel case, in either spelling; None if it is missing."""
    # Google's JSON (proto3) accepts both spellings.
    if name in holder:
        return holder[name]
    return holder.get(re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name))


def text_of_content(content: Any) -> str:
    """Return the text of a content, without reasoning. A content is a text, or an object with parts."""
    if isinstance(content, str):
        return content
    parts = mappings(mapping(content).get("parts"))
    return "".join(string(part.get("text")) for part in parts if part.get("thought") is not True)


def _read_content(content: dict[str, Any]) -> Iterator[SentMessage]:
    """Yield a message for each tool result in a content, then the content without them as a message."""
    role = string(content.get("role"))
    parts = mappings(content.get("parts"))
    results = [result for part in parts if isinstance(result := field_of(part, "functionResponse"), dict)]
    for result in results:
        yield SentMessage("tool", _text_of_result(result.get("response")), (), string_or_none(result.get("id")))
    others = [part for part in parts if field_of(part, "functionResponse") is None]
    if not others and results:
        return
    calls = [call for part in others if isinstance(call := field_of(part, "functionCall"), dict)]
    yield SentMessage(
        _ROLES.get(role, role),
        text_of_content({"parts": others}),
        tuple(
            SentToolCall(string(each.get("name")), each.get("args"), string_or_none(each.get("id"))) for each in calls
        ),
        None,
        tuple(kind for part in others for kind in _media_of(part)),
    )


def _media_of(part: dict[str, Any]) -> Iterator[str]:
    for name in ("inlineData", "fileData"):
        media = field_of(part, name)
        if isinstance(media, dict):
            kind = string(field_of(media, "mimeType")).partition("/")[0]
            yield _MEDIA.get(kind, "file")


def _text_of_result(response: Any) -> str:
    """Return the text of a tool result: a text, the only text in an object, or the JSON of an object."""
    if isinstance(response, dict) and len(response) == 1 and set(response) <= {"result", "output", "error"}:
        response = next(iter(response.values()))
    if isinstance(response, str):
        return response
    try:
        return json.dumps(response, ensure_ascii=False)
    except RecursionError:
        return ""


def _read_tools(tool: dict[str, Any]) -> Iterator[SentTool]:
    for name, value in tool.items():
        if name in ("functionDeclarations", "function_declarations"):
            for each in mappings(value):
                schema = field_of(each, "parametersJsonSchema") or field_of(each, "parameters")
                yield SentTool(string(each.get("name")), string(each.get("description")), mapping(schema))
        else:
            yield SentTool(name)
