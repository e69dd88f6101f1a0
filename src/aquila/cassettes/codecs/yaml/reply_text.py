"""The text of an answer, for whoever reads a cassette. Nothing else uses it: replay takes the bytes.

Knows chat completions, completions, the Responses API and Anthropic's messages, streamed and not. A tool call is shown
as ``name(arguments)`` on a line of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

LONGEST = 2000
LONGEST_AGAIN = 200
"""A longer text is cut, in a stream and in an answer that came whole: there it stands in the body just below."""

_DATA = re.compile(r"^data: ?(\{.*\})\s*$", re.M)


def text_of_answer(body: bytes) -> str:
    """Return the answer's text, or an empty string if there is none or the answer is of an unknown kind."""
    try:
        text = body.decode()
        longest = LONGEST
        if text.startswith("{"):
            pieces = _answer(json.loads(text))
            longest = LONGEST_AGAIN
        else:
            pieces = _stream(json.loads(event) for event in _DATA.findall(text))
        found = "".join(pieces)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    # Half a surrogate pair in one event and half in the next make one character.
    found = found.encode("utf-16", "surrogatepass").decode("utf-16", "replace").lstrip("\n")
    return found if len(found) <= longest else found[: longest - 1] + "…"


def _answer(answer: dict[str, Any]) -> Iterator[str]:
    """The text of an answer that came as one JSON object."""
    if "choices" in answer:
        choice = answer["choices"][0]
        message = choice.get("message") or {}
        yield from _content(message.get("content") or choice.get("text") or "")
        for call in message.get("tool_calls") or ():
            yield _call(call["function"]["name"], call["function"]["arguments"])
    elif isinstance(answer.get("output"), list):
        for item in answer["output"]:
            yield from _item(item)
    elif "content" in answer:
        yield from _content(answer["content"])


def _content(content: str | list[dict[str, Any]]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for part in content:
        if part.get("type") == "tool_use":
            yield _call(part["name"], json.dumps(part["input"], ensure_ascii=False))
        else:
            yield from _strings(part, "text", "refusal")


def _item(item: dict[str, Any]) -> Iterator[str]:
    if item.get("type") == "function_call":
        yield _call(item["name"], item["arguments"])
    else:
        yield from _content(item.get("content") or [])


def _stream(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The text of an answer that came as events."""
    calls: dict[Any, list[str]] = {}
    for event in events:
        kind = event.get("type", "")
        if event.get("choices"):
            choice = event["choices"][0]
            delta = choice.get("delta") or choice
            yield from _strings(delta, "content", "text")
            for call in delta.get("tool_calls") or ():
                function = call.get("function") or {}
                calls.setdefault(call.get("index", 0), []).extend(_strings(function, "name", "arguments"))
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            yield from _strings(event, "delta")
        elif kind == "response.output_item.done" and event["item"]["type"] == "function_call":
            yield from _item(event["item"])
        elif kind == "content_block_start" and event["content_block"]["type"] == "tool_use":
            calls[event["index"]] = [event["content_block"]["name"]]
        elif kind == "content_block_delta":
            yield from _strings(event["delta"], "text")
            if event["index"] in calls:
                calls[event["index"]] += _strings(event["delta"], "partial_json")
    for name, *arguments in calls.values():
        yield _call(name, "".join(arguments))


def _strings(holder: dict[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        value = holder.get(name)
        if isinstance(value, str):
            yield value


def _call(name: str, arguments: str) -> str:
    return f"\n{name}({arguments})"
